"""Only a condition over one row gets through, whatever else SQL can say."""

from pathlib import Path

import duckdb
import pytest

from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.free_where import MAX_CHARACTERS, people_where
from pipeline.browser.locked_sql import LockedSql, QueryRefusedError, QueryTooSlowError


@pytest.mark.parametrize(
    "text",
    [
        "px_b > 3 AND lower(key) LIKE '%a' AND decision_b IN ('x', 'y') AND px_a BETWEEN 1 AND 2",
        "PX_B > 1 OR NOT labelled_a",
        "CASE WHEN px_a IS NULL THEN px_b > 1 ELSE px_b::DOUBLE > 2 * px_a END",
        "px_b > 1 -- the rest is a remark",
        "regexp_matches(key, '^a.*') AND length(key) < 10",
        "key = '; DROP TABLE people; --'",
    ],
)
def test_conditions_over_a_row_are_taken(text: str) -> None:
    assert people_where(text).startswith("SELECT * FROM people WHERE")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("1=1) UNION SELECT * FROM verdicts WHERE (1=1", "one condition|not understood"),
        ("1=1; DROP TABLE people", "not understood"),
        ("id IN (SELECT id FROM verdicts)", "subquery"),
        ("EXISTS (FROM duckdb_settings())", "subquery"),
        ("(SELECT content FROM read_text('/etc/passwd')) <> ''", "subquery"),
        ("getenv('HOME') <> ''", "function getenv"),
        ("current_setting('memory_limit') <> ''", "function current_setting"),
        ("length(repeat('a', 1000000000)) > 1", "function repeat"),
        ("length(lpad('a', 1000000000, 'b')) > 1", "function lpad"),
        ("main.lower(key) = ''", "function lower"),
        ("count(*) > 1", "function count"),
        ("row_number() OVER () > 1", "window"),
        ("list_filter([1], x -> x > 1) = []", "function|lambda"),
        ("key = $1", "parameter"),
        ("key = ?", "parameter"),
        ("COLUMNS(*) > 1", "star"),
        ("people.px_b > 1", "no column"),
        ("nothing > 1", "no column"),
        ("px_b::STRUCT(a INTEGER) IS NULL", "cast"),
        ("px_b > 1 /* without end", "not understood"),
        ("px_b > 1) ORDER BY (1", "one condition"),
        ("px_b > 1) LIMIT (1", "one condition"),
        ("px_b > 1) GROUP BY (key", "one condition"),
        ("px_b > 1 QUALIFY true", "not understood|one condition"),
        ("NOT " * 300 + "labelled_a", "nested|not understood"),
        ("x" * (MAX_CHARACTERS + 1), "characters"),
        ("\x00", "not understood"),
    ],
)
def test_everything_else_is_refused(text: str, why: str) -> None:
    with pytest.raises(QueryRefusedError, match=why):
        people_where(text)


@pytest.fixture
def locked(tmp_path: Path) -> LockedSql:
    path = tmp_path / "it's an index.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE people AS SELECT range::INTEGER AS id, range AS px_b FROM range(1000)")
    return LockedSql(path, BrowseConfig(seconds=0.5, memory="200MB"))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/written-by-a-page.csv'",
        "ATTACH '/tmp/written-by-a-page.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM 'https://127.0.0.1:9/x.parquet'",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "INSERT INTO found.people VALUES (1, 1)",
        "DROP TABLE found.people",
        "EXPORT DATABASE '/tmp/written-by-a-page'",
    ],
)
def test_the_connection_itself_reaches_nothing(locked: LockedSql, statement: str) -> None:
    with pytest.raises(QueryRefusedError):
        locked.rows(statement)
    assert locked.rows("SELECT count(*) FROM people") == [(1000,)]
    assert not list(Path("/tmp").glob("written-by-a-page*"))


def test_a_slow_query_is_stopped_and_others_go_on(locked: LockedSql) -> None:
    with pytest.raises(QueryTooSlowError, match=r"0\.5 s"):
        locked.rows(
            "SELECT count(*) FROM people a, people b, people c, people d WHERE hash(a.id, b.id, c.id, d.id) = 0"
        )
    assert locked.rows("SELECT count(*) FROM people") == [(1000,)]


def test_a_greedy_query_is_refused(locked: LockedSql) -> None:
    with pytest.raises((QueryRefusedError, QueryTooSlowError), match=r"memory|longer"):
        locked.rows("SELECT list(a.id::VARCHAR || repeat('x', 500)) FROM people a, people b")
