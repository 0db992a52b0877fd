"""Pages of people in a stated order: each starts where the one before ended, so the last costs what the first does."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.browser.columns import BY_NAME, COLUMNS
from pipeline.browser.filters import Filters
from pipeline.browser.locked_sql import LockedSql, QueryRefusedError

MOST_ROWS: Final = 200
_FIELDS: Final = ("id", *(column.name for column in COLUMNS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """rows: name -> value. first, last: places for `before` and `after`, None where the page is empty."""

    rows: list[dict[str, object]]
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """column: "" for the order of the data, else one of COLUMNS; people without a value stand at the end."""

    column: str = ""
    descending: bool = False

    @classmethod
    def read(cls, words: Mapping[str, str]) -> "Order":
        """Raises QueryRefusedError."""
        column = words.get("sort", "")
        if column and column not in BY_NAME:
            raise QueryRefusedError(f"sort={column!r}: there is no such column")
        return cls(column=column, descending=words.get("order") == "desc")

    def sql(self) -> str:
        """After ORDER BY."""
        if not self.column:
            return "id"
        return f"{self.column} {'DESC' if self.descending else 'ASC'} NULLS LAST, id"


def page(
    sql: LockedSql, filters: Filters, order: Order, *, limit: int, after: str | None = None, before: str | None = None
) -> Page:
    """At most `limit` people, or MOST_ROWS, after or before a place. Raises QueryRefusedError, QueryTooSlowError."""
    limit = max(1, min(limit, MOST_ROWS))
    backwards = before is not None
    place = before if backwards else after
    condition, values = filters.condition()
    found: list[object] = []
    for part in _parts(order, None if place is None else _placed(place, order), backwards):
        wanted = f"SELECT id FROM {filters.source()} WHERE ({condition}) AND {part.condition} ORDER BY {part.order}"
        rows = sql.rows(f"{wanted} LIMIT {limit - len(found)}", [*values, *part.values])
        found += [row[0] for row in rows]
        if len(found) == limit:
            break
    if not found:
        return Page(rows=[], first=None, last=None)
    if backwards:
        found.reverse()
    rows = people(sql, found)
    return Page(rows=rows, first=_place(rows[0], order), last=_place(rows[-1], order))


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of the order in which one comparison decides: DuckDB then passes over most row groups unread."""

    condition: str
    values: list[object]
    order: str


def _parts(order: Order, place: tuple[object, int] | None, backwards: bool) -> list[_Part]:
    """What is to be read from a place on, in turn, until a page is full; people without a value stand at the end."""
    step, by_id = ("<", "id DESC") if backwards else (">", "id")
    if not order.column:
        return [_Part("true", [], by_id) if place is None else _Part(f"id {step} ?", [place[1]], by_id)]
    name, cast = order.column, f"?::{BY_NAME[order.column].sql}"
    down = order.descending != backwards
    by_value = f"{name} {'DESC' if down else 'ASC'}, {by_id}"
    known, unknown = _Part(f"{name} IS NOT NULL", [], by_value), _Part(f"{name} IS NULL", [], by_id)
    if place is None:
        return [known, unknown]
    value, number = place
    if value is None:
        rest = _Part(f"{name} IS NULL AND id {step} ?", [number], by_id)
        return [rest, known] if backwards else [rest]
    same = _Part(f"{name} = {cast} AND id {step} ?", [value, number], by_id)
    further = _Part(f"{name} {'<' if down else '>'} {cast}", [value], by_value)
    return [same, further] if backwards else [same, further, unknown]


def people(sql: LockedSql, ids: list[object]) -> list[dict[str, object]]:
    """The rows of these people, in this order, each with the `verdict` and `reviewer` of its latest review or None."""
    wanted = ", ".join(str(int(str(i))) for i in ids)
    fields = ", ".join(f"people.{name}" for name in _FIELDS)
    # An id is the place in the table: DuckDB goes straight to it, where it would else read all ids.
    rows = sql.rows(
        f"SELECT {fields}, verdict, reviewer FROM found.people AS people "
        f"JOIN (SELECT unnest([{wanted}]) AS place) ON people.rowid = place LEFT JOIN verdicts USING (id)"
    )
    names = (*_FIELDS, "verdict", "reviewer")
    by_id = {row[0]: dict(zip(names, row, strict=True)) for row in rows}
    return [by_id[i] for i in ids if i in by_id]


def count(sql: LockedSql, filters: Filters) -> int:
    """How many people the filters take. Raises as `page`."""
    condition, values = filters.condition()
    (total,) = sql.rows(f"SELECT count(*) FROM {filters.source()} WHERE {condition}", values)[0]
    return int(str(total))


def _place(row: Mapping[str, object], order: Order) -> str:
    words = [order.column, row[order.column] if order.column else None, row["id"]]
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")


def _placed(text: str, order: Order) -> tuple[object, int]:
    """(value, id) of a place. Raises QueryRefusedError for what `_place` did not make in this order."""
    try:
        column, value, number = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError) as error:
        raise QueryRefusedError("the place in the list is not one that this server gave") from error
    if column != order.column or not isinstance(number, int) or isinstance(value, dict | list):
        raise QueryRefusedError("the place in the list belongs to another order: start at the first page")
    return value, number
