"""Every job has one shell: options and overrides in any order, `--keys`, help at once, and one form of errors."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobs.command_line import Command, CommandError, add_overrides, command_parser, parse
from tests.repository import ROOT

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if "argparse.ArgumentParser" in path.read_text())
JOBS.remove("command_line")

# Complete but for an override that exists, and refused before anything is made.
WORDS = {
    "browse_labels": "browse.port=0",
    "convert_motions": "--motions DIR --output DIR",
    "demo": "--people 2",
    "evaluate": "--dataset 3dpw --data FILE --images DIR --checkpoint FILE",
    "inspect_labels": "show 1",
    "manage_labels": "verify 1",
    "overlay_labels": "--rounds 0 1",
    "predict": "--images DIR --labels 0",
    "refine_round": "--round 0",
    "run_loop": "--rounds 1",
    "train_round": "--round 0",
}
KEYS = {
    "browse_labels": "browse.reviewer",
    "evaluate": "batch_size",
    "inspect_labels": "storage.root",
    "manage_labels": "storage.catalog",
    "overlay_labels": "data.shards",
    "predict": "device",
    "refine_round": "run.actors",
    "run_loop": "network.variant",
    "train_round": "network.variant",
}


def run(job: str, *words: str) -> int:
    return importlib.import_module(f"jobs.{job}").main([*words])


def test_every_job_is_tested() -> None:
    assert set(WORDS) == set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_help_answers_at_once_and_has_examples(job: str) -> None:
    code = f"import sys, jobs.{job} as job\ntry: job.main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    text, _, modules = done.stdout.rstrip().rpartition("\n")
    assert f"examples:\n  python jobs/{job}.py" in text
    slow = {"torch", "ray", "numpy", "pyarrow", "numba", "omegaconf", "duckdb", "rich"} & set(modules.split())
    assert not slow


@pytest.mark.parametrize("job", KEYS)
def test_keys_are_listed_whatever_else_is_missing(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(job, "--keys") == 0
    assert KEYS[job] in capsys.readouterr().out.splitlines()


def test_the_loop_lists_a_key_of_both_its_parts_once(capsys: pytest.CaptureFixture[str]) -> None:
    run("run_loop", "--keys")
    keys = capsys.readouterr().out.splitlines()
    assert {"fit.batch_size", "schedule.epochs"} <= set(keys)
    assert keys.count("storage.root") == 1


@pytest.mark.parametrize("job", [job for job in KEYS if job != "evaluate"])  # which stores no labels
@pytest.mark.parametrize("first", [True, False])
def test_an_unknown_key_is_refused_with_a_suggestion(job: str, first: bool, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(WORDS[job])
    assert run(job, *(["storage.rot=x", *words] if first else [*words, "storage.rot=x"])) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{job}: Unknown key 'storage.rot'. Did you mean storage.root")
    assert captured.out == ""


@pytest.mark.parametrize("job", JOBS)
def test_an_unknown_option_ends_with_usage(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(job, *shlex.split(WORDS[job]), "--no-such-option")
    assert f"usage: {job}.py" in capsys.readouterr().err


@pytest.mark.parametrize("job", ["overlay_labels", "predict", "refine_round", "run_loop", "train_round"])
def test_a_word_that_is_neither_is_refused_by_name(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(job, "stray", *shlex.split(WORDS[job]), "storage.root=x") == 2
    assert "'stray' is not an override. Write key=value" in capsys.readouterr().err


def test_the_demo_has_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "storage.root=x") == 2
    assert capsys.readouterr().err.startswith("demo: 'storage.root=x'")


def parsed(job: str, line: str) -> argparse.Namespace:
    module = importlib.import_module(f"jobs.{job}")
    shared = getattr(module, "_format_option", None)
    return parse(module._parser(), shlex.split(line), shared and shared())


@pytest.mark.parametrize(
    ("job", "lines"),
    [
        (
            "predict",
            [
                "--images DIR --refine --labels 2 --fps 50 device=cpu batch_size=3",
                "device=cpu --refine batch_size=3 --fps 50 --images DIR --labels 2",
                "device=cpu batch_size=3 --labels=2 --images=DIR --fps=50 --refine",
            ],
        ),
        (
            "evaluate",
            [
                "--dataset coco --data A --images B --dataset lsp --data C --images D --checkpoint E device=cpu",
                "device=cpu --checkpoint E --dataset coco --dataset lsp --data A --data C --images B --images D",
            ],
        ),
        (
            "overlay_labels",
            ["--rounds 0 1 a.b=c --people 3", "a.b=c --people 3 --rounds 0 1", "--rounds 0 1 --people 3 a.b=c"],
        ),
        ("refine_round", ["--round 0 a.b=c --force-publish why", "a.b=c --force-publish why --round 0"]),
        ("run_loop", ["--rounds 2 --min-improvement 0 a.b=c", "--min-improvement 0 a.b=c --rounds 2"]),
        ("inspect_labels", ["show 1 --format json a.b=c", "a.b=c --format json show 1", "show --format json a.b=c 1"]),
        ("manage_labels", ["forget 2 --reason r --dry-run a.b=c", "a.b=c forget --dry-run --reason r 2"]),
    ],
)
def test_options_and_overrides_stand_in_any_order(job: str, lines: list[str]) -> None:
    first, *others = (vars(parsed(job, line)) for line in lines)
    assert first["overrides"]
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("job", "line", "name", "value"),
    [
        ("predict", "--images DIR --output rate=3 device=cpu", "output", "rate=3"),
        ("predict", "--images DIR --outp rate=3 device=cpu", "output", "rate=3"),
        ("refine_round", "--round 0 --force-publish fit.dtype=double device=cpu", "force_publish", "fit.dtype=double"),
        ("manage_labels", "forget 2 --reason fit.dtype=double storage.root=x", "reason", "fit.dtype=double"),
        ("inspect_labels", "person photos 0 frame=3 0 storage.root=x", "key", "frame=3"),
        ("inspect_labels", "sql 'SELECT 1 = 2' storage.root=x", "query", "SELECT 1 = 2"),
    ],
)
def test_an_equals_sign_does_not_make_an_override(job: str, line: str, name: str, value: str) -> None:
    options = parsed(job, line)
    assert str(getattr(options, name)) == value
    assert options.overrides == line.split()[-1:]


def documented() -> Iterator[tuple[str, str]]:
    """(job, words) of every command in the README, docs and examples that names a job and is written on one line."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "jobs").glob("*.py")]
    command = re.compile(r"^(?:\$ |ray job submit -- | )*python jobs/(\w+)\.py ([^\n]*)$", re.MULTILINE)
    for page in pages:
        for job, rest in command.findall(page.read_text(encoding="utf-8")):
            if not rest.endswith("\\"):
                yield job, re.split(r" (?:2?>|2>&1|\||#) ?|\s# ", rest)[0].strip()


@pytest.mark.parametrize(("job", "line"), sorted(set(documented())))
def test_every_documented_command_line_is_understood(job: str, line: str) -> None:
    if {"--help", "--keys"} & set(line.split()):
        return
    parsed(job, line.replace(" ...", "").replace(" | ", " "))


def command(work, **rest) -> Command:
    def parser() -> argparse.ArgumentParser:
        made = command_parser("made", "A made-up command.", "examples:\n  none")
        add_overrides(made, "a=b")
        return made

    return Command(name="made", parser=parser, work=work, **rest)


@pytest.mark.parametrize(
    ("error", "code"),
    [(CommandError("why"), 1), (OSError("why"), 1), (KeyError("why"), 2), (KeyboardInterrupt(), 130)],
)
def test_what_ends_a_command_is_said_on_stderr(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: argparse.Namespace) -> int:
        raise error

    ended = command(work, failed=lambda: (OSError,), refused=lambda: (KeyError,), interrupted="why").run([])
    assert ended == code
    assert re.fullmatch(r"made: '?why'?\n", capsys.readouterr().err)


def test_an_error_nobody_named_is_a_traceback() -> None:
    def work(_: argparse.Namespace) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(work, failed=lambda: (OSError,)).run([])


def test_the_work_gets_the_overrides_in_order_and_gives_the_code() -> None:
    seen: list[str] = []

    def work(options: argparse.Namespace) -> int:
        seen.extend(options.overrides)
        return 7

    assert command(work).run(["b=1", "a.b=2", "b=3"]) == 7
    assert seen == ["b=1", "a.b=2", "b=3"]
