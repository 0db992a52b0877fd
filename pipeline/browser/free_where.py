"""The free condition of a page: parsed by DuckDB itself, and only what a condition over one row needs passes."""

import json
from typing import Final

import duckdb

from pipeline.browser.columns import BY_NAME
from pipeline.browser.locked_sql import QueryRefusedError

MAX_CHARACTERS: Final = 2000
_MAX_DEPTH: Final = 60

FUNCTIONS: Final = frozenset(
    {
        "+", "-", "*", "/", "//", "%", "**", "^", "abs", "round", "floor", "ceil", "sqrt", "ln", "log10", "exp", "sign",
        "greatest", "least", "degrees", "radians", "isfinite", "isnan", "mod", "pow", "power",
        "lower", "upper", "length", "contains", "starts_with", "ends_with", "suffix", "prefix", "regexp_matches",
        "substring", "left", "right", "strpos", "trim", "~~", "!~~", "~~*", "!~~*", "like_escape", "ilike_escape",
        "not_like_escape", "not_ilike_escape", "||", "concat",
    }
)  # fmt: skip
"""None of them reads anything but its arguments, or makes long values of short ones."""

_CLASSES: Final = frozenset(
    {"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST", "FUNCTION"}
)
_TYPES: Final = frozenset({"INTEGER", "BIGINT", "DOUBLE", "FLOAT", "VARCHAR", "BOOLEAN"})
_PLAIN_SELECT: Final = {
    "modifiers": [], "cte_map": {"map": []}, "group_expressions": [], "group_sets": [], "having": None, "sample": None,
    "qualify": None,
}  # fmt: skip


def people_where(text: str) -> str:
    """`SELECT * FROM people WHERE ...`, to be asked further. Raises QueryRefusedError, saying what is not allowed.

    A query of its own, so that `a) OR (b` loosens no other condition. Allowed: the columns of `columns`, constants,
    comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, CASE, casts to plain types, and FUNCTIONS. No subqueries, no other
    tables, no aggregates.
    """
    if len(text) > MAX_CHARACTERS:
        raise QueryRefusedError(f"the condition has {len(text)} characters, at most {MAX_CHARACTERS}")
    if any(letter < " " and letter not in "\t\n\r" for letter in text):
        raise QueryRefusedError("the condition is not understood: it has control characters")
    if not text.strip():
        raise QueryRefusedError("the condition is empty")
    statement = f"SELECT * FROM people WHERE (\n{text}\n)"
    tree = _parsed(statement)
    node = tree["statements"][0]["node"]
    plain = len(tree["statements"]) == 1 and node["type"] == "SELECT_NODE"
    if not plain or any(node[name] != value for name, value in _PLAIN_SELECT.items()):
        raise QueryRefusedError("one condition is expected, as after WHERE: px_b > 10 AND decision_b = 'improved'")
    source = node["from_table"]
    if source["type"] != "BASE_TABLE" or source["table_name"] != "people":
        raise QueryRefusedError("one condition is expected, as after WHERE")
    _check(node["where_clause"], 0)
    return statement


def _parsed(statement: str) -> dict:  # type: ignore[type-arg]
    with duckdb.connect() as connection:
        found = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()
    tree = json.loads(found[0]) if found else {"error": True}
    if tree["error"]:
        message = str(tree.get("error_message", "it cannot be parsed")).splitlines()[0]
        raise QueryRefusedError(f"the condition is not understood: {message}")
    return tree


def _check(node: object, depth: int) -> None:
    """Walk the parsed expression; whatever has a class must be of a known one."""
    if depth > _MAX_DEPTH:
        raise QueryRefusedError("the condition is nested too deeply")
    if isinstance(node, list):
        for item in node:
            _check(item, depth)
    elif isinstance(node, dict):
        _check_class(node)
        for value in node.values():
            if isinstance(value, dict | list):
                _check(value, depth + 1)


def _check_class(node: dict) -> None:  # type: ignore[type-arg]
    kind = node.get("class")
    if kind == "TYPE":
        if node["type_name"] not in _TYPES or node["children"]:
            raise QueryRefusedError(
                f"a cast to {node['type_name']} is not allowed; allowed: {', '.join(sorted(_TYPES))}"
            )
    elif kind is not None and kind not in _CLASSES:
        raise QueryRefusedError(f"{str(kind).lower().replace('_', ' ')} is not allowed in a condition")
    elif kind == "FUNCTION" and (node["function_name"] not in FUNCTIONS or node["schema"] or node["catalog"]):
        raise QueryRefusedError(f"the function {node['function_name']} is not allowed in a condition")
    elif kind == "COLUMN_REF":
        names = node["column_names"]
        if len(names) != 1 or names[0].lower() not in BY_NAME:
            raise QueryRefusedError(f"there is no column {'.'.join(names)}; there are {', '.join(BY_NAME)}")
