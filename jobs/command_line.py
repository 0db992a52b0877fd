"""The command line of the jobs: options and `key=value` overrides in any order, `--keys`, and how a command ends.

Imports nothing that takes time, so that `--help` answers at once.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Never

Errors = tuple[type[Exception], ...]

_OVERRIDE: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)*=.*", re.DOTALL)
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)+=.*", re.DOTALL)


class CommandError(Exception):
    """The command cannot do what it was asked, exit code 1; the message says why and what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A job: what it understands, what it does, and which errors a user can mend.

    work: takes the options, whose `overrides` are the key=value words in order; returns the exit code.
    failed, refused: the errors that end it with 1 and, besides ConfigError, with 2. They are called when an error is
    raised, for to name an error is to import where it is defined, and that takes time.
    anywhere: options that may stand before or after a subcommand. presets: does it know `preset=NAME`?
    """

    name: str
    parser: Callable[[], argparse.ArgumentParser]
    work: Callable[[argparse.Namespace], int]
    failed: Callable[[], Errors] = tuple
    refused: Callable[[], Errors] = tuple
    anywhere: Callable[[], argparse.ArgumentParser] | None = None
    presets: bool = False
    interrupted: str = "Interrupted."

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Exit code of the command; errors go to stderr as `name: message`, wrong usage ends with SystemExit(2)."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        try:
            options = parse(self.parser(), words, None if self.anywhere is None else self.anywhere())
        except _KeysAsked as asked:
            return self._print_keys(asked.settings(), words)
        from pipeline.runtime.config import ConfigError

        try:
            return self.work(options)
        except KeyboardInterrupt:
            return self._say(130, self.interrupted)
        except CommandError as error:
            return self._say(1, error)
        except (ConfigError, *self.refused()) as error:
            return self._say(2, error)
        except self.failed() as error:
            return self._say(1, error)

    def _print_keys(self, settings: tuple[type, ...], words: list[str]) -> int:
        from pipeline.runtime.config import ConfigError, valid_keys

        lines = list(dict.fromkeys(key for cls in settings for key in valid_keys(cls)))
        if self.presets:
            from jobs.presets import preset_lines

            try:
                lines = list(preset_lines(settings, words)) or lines
            except ConfigError as error:
                return self._say(2, error)
        print("\n".join(lines))
        return 0

    def _say(self, code: int, message: object) -> int:
        print(f"{self.name}: {message}", file=sys.stderr)
        return code


def command_parser(
    name: str, description: str | None, examples: str, *, parents: Sequence[argparse.ArgumentParser] = ()
) -> argparse.ArgumentParser:
    """A parser whose help ends with the examples, as they are written."""
    return argparse.ArgumentParser(
        prog=f"{name}.py",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """The key=value words in the help of a command without subcommands."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"override of a setting, such as {example}")


def add_keys(parser: argparse._ActionsContainer, settings: Callable[[], tuple[type, ...]]) -> None:
    """`--keys`, which lists the keys of these dataclasses; called only then, for importing them takes time."""
    parser.add_argument("--keys", action=_Keys, settings=settings, help="list the keys of all overrides and stop")


def parse(
    parser: argparse.ArgumentParser, words: Sequence[str], anywhere: argparse.ArgumentParser | None = None
) -> argparse.Namespace:
    """The options, with `overrides`: the key=value words, wherever they stand. Raises SystemExit for wrong usage.

    A word that is the value of the option before it is no override. Beside a subcommand's own words, which may hold
    an equals sign, an override has a dot in its key.
    """
    commands = list(_subcommands(parser))
    overrides, rest = _split(words, [parser, *commands], _DOTTED if commands else _OVERRIDE)
    options = argparse.Namespace()
    if anywhere is not None:
        options, rest = anywhere.parse_known_args(rest)
    reader = parser.parse_args if commands else parser.parse_intermixed_args
    options = reader(rest, options)
    strays = getattr(options, "overrides", ())  # words that are neither: loading the settings refuses them by name
    options.overrides = [*overrides, *strays]
    return options


def _split(
    words: Sequence[str], parsers: Sequence[argparse.ArgumentParser], form: re.Pattern[str]
) -> tuple[list[str], list[str]]:
    takes_value = {
        option: action.nargs not in (0, "?", "*")
        for parser in parsers
        for action in parser._actions
        for option in action.option_strings
    }
    overrides, rest = [], []
    for before, word in zip(["", *words], words, strict=False):
        free = bool(form.fullmatch(word)) and not _wants_value(before, takes_value)
        (overrides if free else rest).append(word)
    return overrides, rest


def _wants_value(word: str, takes_value: dict[str, bool]) -> bool:
    """Whether the word is an option, perhaps shortened, that takes what follows it."""
    if word in takes_value:
        return takes_value[word]
    return word.startswith("--") and any(takes for option, takes in takes_value.items() if option.startswith(word))


def _subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


class _KeysAsked(Exception):
    def __init__(self, settings: Callable[[], tuple[type, ...]]) -> None:
        super().__init__()
        self.settings = settings


class _Keys(argparse.Action):
    """Ends the parsing, whatever else is missing, as --help does."""

    def __init__(self, *, settings: Callable[[], tuple[type, ...]], **rest: Any) -> None:
        super().__init__(nargs=0, **rest)
        self._settings = settings

    def __call__(self, *_: Any) -> Never:
        raise _KeysAsked(self._settings)
