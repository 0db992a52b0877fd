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

    def sql(self, *, backwards: bool = False) -> str:
        """After ORDER BY."""
        end = "DESC" if backwards else "ASC"
        if not self.column:
            return f"id {end}"
        down = self.descending != backwards
        nulls = "FIRST" if backwards else "LAST"
        return f"{self.column} {'DESC' if down else 'ASC'} NULLS {nulls}, id {end}"


def page(
    sql: LockedSql, filters: Filters, order: Order, *, limit: int, after: str | None = None, before: str | None = None
) -> Page:
    """At most `limit` people, or MOST_ROWS, after or before a place. Raises QueryRefusedError, QueryTooSlowError."""
    limit = max(1, min(limit, MOST_ROWS))
    backwards = before is not None
    condition, values = filters.condition()
    if (place := before if backwards else after) is not None:
        bound, more = _beyond(order, *_placed(place, order), backwards)
        condition, values = f"({condition}) AND {bound}", [*values, *more]
    key = f", {order.column}" if order.column else ""
    ids = (
        f"SELECT id{key} FROM {filters.source()} WHERE {condition} "
        f"ORDER BY {order.sql(backwards=backwards)} LIMIT {limit}"
    )
    # Narrow first: the other columns are read for the few rows of the page alone.
    found = [row[0] for row in sql.rows(ids, values)]
    if not found:
        return Page(rows=[], first=None, last=None)
    if backwards:
        found.reverse()
    rows = people(sql, found)
    return Page(rows=rows, first=_place(rows[0], order), last=_place(rows[-1], order))


def people(sql: LockedSql, ids: list[object]) -> list[dict[str, object]]:
    """The rows of these people, in this order, each with the `verdict` and `reviewer` of its latest review or None."""
    wanted = ", ".join(str(int(str(i))) for i in ids)
    fields = ", ".join(f"people.{name}" for name in _FIELDS)
    rows = sql.rows(
        f"SELECT {fields}, verdict, reviewer FROM people LEFT JOIN verdicts USING (id) WHERE people.id IN ({wanted})"
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


def _beyond(order: Order, value: object, number: int, backwards: bool) -> tuple[str, list[object]]:
    """Rows that stand after the place, or before it."""
    step = "<" if backwards else ">"
    if not order.column:
        return f"id {step} ?", [number]
    name, cast = order.column, f"?::{BY_NAME[order.column].sql}"
    if value is None:
        tie = f"({name} IS NULL AND id {step} ?)"
        return (f"({name} IS NOT NULL OR {tie})" if backwards else tie), [number]
    sign = ">" if order.descending == backwards else "<"
    # The first comparison alone says most, and lets DuckDB pass over whole row groups.
    bound = f"({name} {sign}= {cast} AND ({name} {sign} {cast} OR id {step} ?))"
    return (bound if backwards else f"({bound} OR {name} IS NULL)"), [value, value, number]
