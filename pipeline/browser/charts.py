"""Histograms and scatter plots of the people that the filters take, small enough for a page whatever their number."""

from dataclasses import dataclass
from typing import Final

from pipeline.browser.columns import BY_NAME, Kind
from pipeline.browser.filters import Filters
from pipeline.browser.locked_sql import LockedSql, QueryRefusedError

BINS: Final = 40
POINTS: Final = 3000
_TAIL: Final = 0.002
"""Share at either end that the bins leave out when it would squeeze all the others into a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """edges: one more than counts; below, above, unknown: people outside of the edges or without a value."""

    edges: list[float]
    counts: list[int]
    below: int
    above: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Columns of the same length, of at most POINTS people chosen by a hash: the same ones every time."""

    ids: list[int]
    x: list[float]
    y: list[float]
    of: int


def histogram(sql: LockedSql, filters: Filters, column: str) -> Histogram:
    """Of a column of numbers. Raises QueryRefusedError, QueryTooSlowError."""
    _known(column)
    condition, values = filters.condition()
    chosen = f"FROM (SELECT {column}::DOUBLE AS x FROM {filters.source()} WHERE {condition})"
    ends = sql.rows(f"SELECT min(x), max(x), approx_quantile(x, [{_TAIL}, {1 - _TAIL}]), count(*) {chosen}", values)
    low, high, tails, total = ends[0]
    if low is None:
        return Histogram(edges=[0.0, 1.0], counts=[0], below=0, above=0, unknown=int(str(total)))
    low, high, (left, right) = float(str(low)), float(str(high)), tails  # pyrefly: ignore
    if high - low > 2 * (right - left) > 0:
        low, high = float(left), float(right)
    width = (high - low) / BINS or 1.0
    inside = f"least(floor((x - {low!r}) / {width!r}), {BINS - 1})"
    place = f"CASE WHEN x IS NULL THEN NULL WHEN x < {low!r} THEN -1 WHEN x > {high!r} THEN {BINS} ELSE {inside} END"
    bins = sql.rows(f"SELECT {place}::INTEGER AS bin, count(*) {chosen} GROUP BY bin", values)
    found = {row[0]: row[1] for row in bins}
    return Histogram(
        edges=[low + i * width for i in range(BINS + 1)],
        counts=[_count(found, i) for i in range(BINS)],
        below=_count(found, -1),
        above=_count(found, BINS),
        unknown=_count(found, None),
    )


def scatter(sql: LockedSql, filters: Filters, x: str, y: str) -> Scatter:
    """Of two columns of numbers. Raises QueryRefusedError, QueryTooSlowError."""
    _known(x)
    _known(y)
    condition, values = filters.condition()
    chosen = f"FROM {filters.source()} WHERE ({condition}) AND {x} IS NOT NULL AND {y} IS NOT NULL"
    rows = sql.rows(f"SELECT id, {x}, {y} {chosen} ORDER BY hash(id) LIMIT {POINTS}", values)
    total = len(rows) if len(rows) < POINTS else sql.rows(f"SELECT count(*) {chosen}", values)[0][0]
    ids, xs, ys = ([*column] for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Scatter(ids=ids, x=xs, y=ys, of=int(str(total)))  # pyrefly: ignore


def _known(column: str) -> None:
    if column not in BY_NAME or BY_NAME[column].kind is not Kind.NUMBER:
        raise QueryRefusedError(f"{column!r} is no column of numbers")


def _count(found: dict[object, object], key: object) -> int:
    return int(str(found.get(key, 0)))
