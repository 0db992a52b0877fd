"""The index over two generations says what the label rows say; filters, orders and pages are those of plain Python."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.browser import charts, downloads
from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.columns import BY_NAME, COLUMNS, HIDDEN
from pipeline.browser.filters import Filters
from pipeline.browser.index_file import index_path, make_index, write_index
from pipeline.browser.index_rows import shard_rows
from pipeline.browser.locked_sql import LockedSql, QueryRefusedError
from pipeline.browser.paging import Order, count, page, people
from pipeline.image.crop import CROP_PX
from pipeline.labels import LabelStore
from pipeline.labels.files.staging import encode
from schemas.skel import Q_NAMES, q_limits
from tests.pipeline.browser.small_store import made_store
from tests.pipeline.labels.label_tables import label_table, replace_column

Row = dict[str, Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    return made_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def sql(store: LabelStore, tmp_path_factory: pytest.TempPathFactory) -> LockedSql:
    folder = tmp_path_factory.mktemp("cache")
    path = index_path(folder, store, 0, 1)
    done = []
    make_index(path, store, 0, 1, lambda *progress: done.append(progress))
    assert done[-1] == (3, 3)
    assert path.stat().st_mode & 0o077 == 0
    assert [file.name for file in folder.iterdir()] == [path.name]
    locked = LockedSql(path, BrowseConfig())
    locked.set_verdicts([(3, "good", "anna"), (5, "bad_label", "ben")])
    return locked


@pytest.fixture(scope="module")
def rows(sql: LockedSql) -> list[Row]:
    names = [*(name for name, _ in HIDDEN), *(column.name for column in COLUMNS)]
    return [
        dict(zip(names, row, strict=True)) for row in sql.rows(f"SELECT {', '.join(names)} FROM people ORDER BY id")
    ]


def test_rows_are_those_of_both_generations(store: LabelStore, rows: list[Row]) -> None:
    old, new = (store.read_all(k).to_pylist() for k in (0, 1))
    assert [(r["dataset"], r["shard"], r["key"], r["person"]) for r in rows] == [
        (r["dataset"], r["shard"], r["key"], r["person"]) for r in new
    ]
    for row, a, b in zip(rows, old, new, strict=True):
        assert (row["decision_a"], row["decision_b"]) == (a["decision"], b["decision"])
        assert (row["labelled_a"], row["labelled_b"]) == (a["has_label"], b["has_label"])
        if not b["has_label"]:
            assert row["px_b"] is row["angle_change_deg"] is row["changed_most"] is None
            continue
        assert row["px_change"] == pytest.approx((b["kp2d_error"] - a["kp2d_error"]) * CROP_PX, rel=1e-4)
        difference = np.degrees(np.abs((np.subtract(b["q"], a["q"]) + np.pi) % (2 * np.pi) - np.pi))
        assert row["angle_change_deg"] == pytest.approx(difference.mean(), rel=1e-4)
        assert row["max_angle_change_deg"] == pytest.approx(difference.max(), rel=1e-4)
        assert row["changed_most"] == Q_NAMES[difference.argmax()]
        low, high = q_limits()
        past = [i for i in range(3, 46) if not low[i] - 1e-4 <= b["q"][i] <= high[i] + 1e-4]
        assert [i for i in range(46) if row["beyond_b"] >> i & 1] == past
        assert row["at_limit_b"] & row["beyond_b"] == row["beyond_b"]


def test_people_of_one_generation_alone_are_there(tmp_path: Path) -> None:
    both, few = label_table("d", "0"), label_table("d", "0", round=1).slice(4)
    for name, table in (("a", both), ("b", few)):
        (tmp_path / f"{name}.parquet").write_bytes(encode(table))
    a, b = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    found = shard_rows(a, b).to_pylist()
    assert len(found) == 20
    assert [row["decision_b"] for row in found[16:]] == [None] * 4
    assert all(row["decision_a"] is not None for row in found)
    assert not any(row["labelled_b"] or row["beyond_b"] for row in found[16:])
    assert [row["decision_a"] for row in shard_rows(b, a).to_pylist()[:4]] == [None] * 4
    for urls in ((a, None), (None, a)):
        assert len(shard_rows(*urls)) == 20
    assert shard_rows(None, a).to_pylist()[0]["px_change"] is None


FILTERS: list[tuple[list[tuple[str, str]], Callable[[Row], bool]]] = [
    ([], lambda r: True),
    ([("dataset", "video")], lambda r: r["dataset"] == "video"),
    ([("shard", "000001")], lambda r: r["shard"] == "000001"),
    ([("decision_b", "no_label")], lambda r: r["decision_b"] == "no_label"),
    ([("decision_b", "improved"), ("decision_b", "no_label")], lambda r: True),
    ([("decision_a", "converted")], lambda r: r["decision_a"] == "converted"),
    ([("start_b", "parent")], lambda r: r["start_b"] == "parent"),
    ([("start_a", "none")], lambda r: r["start_a"] == "none"),
    ([("camera_b", "hsmr")], lambda r: r["camera_b"] == "hsmr"),
    ([("labelled_b", "no")], lambda r: not r["labelled_b"]),
    ([("prediction_b", "yes")], lambda r: r["prediction_b"]),
    ([("pseudo_label_b", "yes")], lambda r: r["pseudo_label_b"]),
    ([("min.px_b", "3")], lambda r: (r["px_b"] or 0) >= 3),
    ([("min.px_b", "3"), ("max.px_b", "5")], lambda r: 3 <= (r["px_b"] or 0) <= 5),
    ([("max.px_change", "-0.4")], lambda r: (r["px_change"] or 0) <= -0.4),
    ([("min.angle_change_deg", "60")], lambda r: (r["angle_change_deg"] or 0) >= 60),
    ([("contains", "0007")], lambda r: "0007" in r["key"]),
    ([("contains", "%")], lambda r: False),
    ([("joint", "any")], lambda r: r["beyond_b"] != 0),
    ([("joint", "knee_angle_r")], lambda r: r["beyond_b"] >> Q_NAMES.index("knee_angle_r") & 1 == 1),
    ([("joint", "wrist_deviation_l"), ("joint_state", "at")], lambda r: r["at_limit_b"] >> 45 & 1 == 1),
    ([("reviewed", "no")], lambda r: r["id"] not in (3, 5)),
    ([("reviewed", "any")], lambda r: r["id"] in (3, 5)),
    ([("reviewed", "bad_label")], lambda r: r["id"] == 5),
    ([("where", "px_b > 4 AND person = 1")], lambda r: (r["px_b"] or 0) > 4 and r["person"] == 1),
    ([("where", "false) OR (true"), ("dataset", "video")], lambda r: r["dataset"] == "video"),
    ([("dataset", "x'; DROP TABLE people; --")], lambda r: False),
    ([("sort", "px_b"), ("unknown", "x"), ("min.px_b", "")], lambda r: True),
]


@pytest.mark.parametrize(("pairs", "passes"), FILTERS)
def test_a_filter_takes_whom_it_should(
    pairs: list[tuple[str, str]], passes: Callable[[Row], bool], sql: LockedSql, rows: list[Row]
) -> None:
    filters = Filters.read(pairs)
    expected = [row["id"] for row in rows if passes(row)]
    assert count(sql, filters) == len(expected)
    assert [row["id"] for row in page(sql, filters, Order(), limit=200).rows] == expected


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([("min.px_b", "much")], "a number expected"),
        ([("min.px_b", "nan")], "a number expected"),
        ([("max.nothing", "1")], "no column of numbers"),
        ([("min.decision_b", "1")], "no column of numbers"),
        ([("labelled_b", "maybe")], "yes or no"),
        ([("joint", "elbow")], "one of any"),
        ([("joint", "any"), ("joint_state", "near")], "one of beyond"),
        ([("reviewed", "perhaps")], "one of no"),
        ([("dataset", "x" * 1001)], "at most 1000"),
        ([("dataset", str(i)) for i in range(201)], "at most 200"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(pairs: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(QueryRefusedError, match=why):
        Filters.read(pairs)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["", "px_b", "key", "person", "labelled_b", "decision_b", "iterations_b"])
def test_pages_hold_everybody_once_in_order_both_ways(
    column: str, descending: bool, sql: LockedSql, rows: list[Row]
) -> None:
    order = Order(column=column, descending=descending)
    known = [row for row in rows if not column or row[column] is not None]
    unknown = [row for row in rows if column and row[column] is None]
    if column:
        known.sort(key=lambda row: row[column], reverse=descending)  # stable: ids go up among equals
    expected = [row["id"] for row in (*known, *unknown)]
    found, last, seen = [], None, []
    while (got := page(sql, Filters(), order, limit=7, after=last)).rows:
        found += [row["id"] for row in got.rows]
        seen.append(got)
        last = got.last
    assert found == expected
    for before, after in itertools.pairwise(seen):
        assert page(sql, Filters(), order, limit=7, before=after.first).rows == before.rows


@pytest.mark.parametrize("place", ["x", "W10", "bnVsbA", "WyJweF9iIiwgMSwgMV0", "e30", "\u00e9"])
def test_a_place_that_nobody_gave_is_refused(place: str, sql: LockedSql) -> None:
    with pytest.raises(QueryRefusedError, match="place in the list"):
        page(sql, Filters(), Order(column="key"), limit=5, after=place)


def test_a_page_says_who_was_reviewed(sql: LockedSql) -> None:
    found = people(sql, [3, 4])
    assert [(row["verdict"], row["reviewer"]) for row in found] == [("good", "anna"), (None, None)]


def test_a_histogram_counts_everybody(sql: LockedSql, rows: list[Row]) -> None:
    for column in (column.name for column in COLUMNS if column.kind == "number"):
        found = charts.histogram(sql, Filters(), column)
        assert sum(found.counts) + found.below + found.above + found.unknown == len(rows)
        assert found.unknown == sum(row[column] is None for row in rows)
    nobody = charts.histogram(sql, Filters(where="false"), "px_b")
    assert (nobody.counts, nobody.unknown) == ([0], 0)


def test_a_scatter_plot_shows_everybody_of_few(sql: LockedSql, rows: list[Row]) -> None:
    found = charts.scatter(sql, Filters(), "px_a", "px_b")
    assert sorted(found.ids) == [row["id"] for row in rows if row["px_a"] is not None and row["px_b"] is not None]
    assert found.of == len(found.ids)
    assert found.x[0] == pytest.approx(rows[found.ids[0]]["px_a"])
    with pytest.raises(QueryRefusedError, match="no column of numbers"):
        charts.scatter(sql, Filters(), "px_a", "key")


def test_downloads_hold_the_selection(sql: LockedSql, rows: list[Row], tmp_path: Path) -> None:
    filters, order = Filters(choices={"dataset": ("video",)}), Order(column="px_b", descending=True)
    text = b"".join(downloads.csv(sql, filters, order)).decode().splitlines()
    assert text[0].replace('"', "").split(",")[:4] == ["dataset", "shard", "key", "person"]
    assert len(text) == 21
    (tmp_path / "people.parquet").write_bytes(b"".join(downloads.parquet(sql, filters, order)))
    table = pa.parquet.read_table(tmp_path / "people.parquet")
    errors = [value for value in table["px_b"].to_pylist() if value is not None]
    assert errors == sorted(errors, reverse=True)
    assert table.column_names == [*BY_NAME, "verdict", "reviewer"]
    nobody = b"".join(downloads.csv(sql, Filters(where="false"), Order()))
    assert nobody.count(b"\n") <= 1


def test_hostile_names_go_in_and_out_unchanged(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "'; DROP TABLE people; --", '=cmd|"/c calc"!A1', "ü\u202e\u200b", "a" * 1000]
    table = label_table("d", "0", rows=len(names))
    (tmp_path / "a.parquet").write_bytes(encode(replace_column(table, "key", names)))
    write_index(tmp_path / "index.duckdb", iter([shard_rows(None, str(tmp_path / "a.parquet"))]))
    sql = LockedSql(tmp_path / "index.duckdb", BrowseConfig())
    assert [row["key"] for row in page(sql, Filters(), Order(), limit=9).rows] == names
    for name in names:
        assert count(sql, Filters(contains=name)) == 1


def test_numbers_of_the_index_are_never_nan(rows: list[Row]) -> None:
    assert not any(isinstance(value, float) and math.isnan(value) for row in rows for value in row.values())
