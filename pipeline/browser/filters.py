"""Which people a page shows, as typed filters read from an address, and the SQL they stand for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.browser.columns import BY_NAME, CHOICES, Kind
from pipeline.browser.free_where import people_where
from pipeline.browser.locked_sql import QueryRefusedError
from schemas.skel import N_UNLIMITED, Q_NAMES

REVIEW_STATES: Final = ("no", "any", "good", "bad_keypoints", "bad_label", "wrong_person")
JOINT_STATES: Final = {"beyond": "beyond_b", "at": "at_limit_b"}
LIMITED: Final = Q_NAMES[N_UNLIMITED:]
_MOST_VALUES: Final = 200
_MOST_CHARACTERS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """choices: column -> values, any of which; ranges: column -> (low, high), both inclusive, None: open; flags: column
    -> yes or no; contains: a part of the photo's key; joint: an angle, or "any", that is beyond its limit or `at` it;
    reviewed: one of REVIEW_STATES; where: a condition in SQL.
    """

    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    contains: str | None = None
    joint: tuple[str, str] | None = None
    reviewed: str | None = None
    where: str | None = None

    @classmethod
    def read(cls, query: Iterable[tuple[str, str]]) -> "Filters":
        """From the pairs of an address: `decision_b=improved&min.px_b=10&labelled_a=yes&joint=any&where=...`.

        Names that are no filter are left to others. Raises QueryRefusedError for a value that means nothing.
        """
        pairs = [(name, value) for name, value in query if value != ""]
        words = dict(pairs)
        choices: dict[str, tuple[str, ...]] = {}
        ranges: dict[str, tuple[float | None, float | None]] = {}
        flags: dict[str, bool] = {}
        for name, value in pairs:
            if len(value) > _MOST_CHARACTERS and name != "where":
                raise QueryRefusedError(f"{name} has {len(value)} characters, at most {_MOST_CHARACTERS}")
            side, _, column = name.partition(".")
            if side in ("min", "max") and column:
                low, high = ranges.get(_number_column(column), (None, None))
                bound = _number(name, value)
                ranges[column] = (bound, high) if side == "min" else (low, bound)
            elif name in CHOICES or name == "shard":
                choices[name] = (*choices.get(name, ()), value)
            elif name in BY_NAME and BY_NAME[name].kind is Kind.FLAG:
                flags[name] = _yes(name, value)
        if any(len(values) > _MOST_VALUES for values in choices.values()):
            raise QueryRefusedError(f"at most {_MOST_VALUES} values of one column")
        return cls(
            choices=choices,
            ranges=ranges,
            flags=flags,
            contains=words.get("contains"),
            joint=_joint(words),
            reviewed=_one_of("reviewed", words.get("reviewed"), REVIEW_STATES),
            where=words.get("where"),
        )

    def source(self) -> str:
        """What to select from: the table, or those of its rows that the free condition takes."""
        return "people" if self.where is None else f"({people_where(self.where)})"

    def condition(self) -> tuple[str, list[object]]:
        """SQL after WHERE, and its parameters."""
        parts: list[str] = []
        values: list[object] = []
        for name, wanted in self.choices.items():
            parts.append(f"{name} IN ({', '.join('?' * len(wanted))})")
            values += wanted
        for name, (low, high) in self.ranges.items():
            for bound, sign in ((low, ">="), (high, "<=")):
                if bound is not None:
                    parts.append(f"{name} {sign} ?::{BY_NAME[name].sql if BY_NAME[name].sql == 'FLOAT' else 'DOUBLE'}")
                    values.append(bound)
        parts += [name if wanted else f"NOT {name}" for name, wanted in self.flags.items()]
        if self.contains is not None:
            parts.append("contains(key, ?)")
            values.append(self.contains)
        if self.joint is not None:
            name, state = self.joint
            parts.append(f"{JOINT_STATES[state]} & ?::BIGINT != 0")
            values.append(_joint_bits(name))
        parts += self._review(values)
        return " AND ".join(parts) or "true", values

    def _review(self, values: list[object]) -> Sequence[str]:
        match self.reviewed:
            case None:
                return []
            case "no":
                return ["id NOT IN (SELECT id FROM verdicts)"]
            case "any":
                return ["id IN (SELECT id FROM verdicts)"]
            case verdict:
                values.append(verdict)
                return ["id IN (SELECT id FROM verdicts WHERE verdict = ?)"]


def _joint_bits(name: str) -> int:
    return -1 if name == "any" else 1 << Q_NAMES.index(name)


def _joint(words: Mapping[str, str]) -> tuple[str, str] | None:
    name = _one_of("joint", words.get("joint"), ("any", *LIMITED))
    state = _one_of("joint_state", words.get("joint_state"), tuple(JOINT_STATES)) or "beyond"
    return None if name is None else (name, state)


def _one_of(name: str, value: str | None, known: Sequence[str]) -> str | None:
    if value is not None and value not in known:
        raise QueryRefusedError(f"{name}={value!r}: one of {', '.join(known)} expected")
    return value


def _number_column(name: str) -> str:
    if name not in BY_NAME or BY_NAME[name].kind is not Kind.NUMBER:
        raise QueryRefusedError(f"{name!r} is no column of numbers")
    return name


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise QueryRefusedError(f"{name}={text!r}: a number expected")
    return value


def _yes(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise QueryRefusedError(f"{name}={text!r}: yes or no expected")
    return text == "yes"
