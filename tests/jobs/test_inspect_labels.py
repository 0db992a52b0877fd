"""The command line over a small published store: what it prints, for people and for programs, and how it fails."""

import csv
import io
import json
from pathlib import Path

import pytest

from jobs.inspect_labels import main
from pipeline.labels import LabelStore
from tests.pipeline.labels.label_tables import lineage, publish_rounds, stage
from tests.services.s3_server import S3Server


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = LabelStore(str(tmp_path_factory.mktemp("inspect") / "labels"))
    publish_rounds(store, 2)
    return store.storage.root


class Command:
    """Runs the command in this process."""

    def __init__(self, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._root, self._capsys = root, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        assert main([*words, f"storage.root={self._root}"]) == code
        captured = self._capsys.readouterr()
        return captured.err if code else captured.out


@pytest.fixture
def inspect(root: str, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(root, capsys)


def test_rounds(inspect: Command) -> None:
    first, second = json.loads(inspect("rounds", "--format", "json"))
    assert (first["round"], first["people"], first["labelled"], first["parent_run"]) == (0, 60, 54, None)
    assert second["decisions"] == "improved 54, no_label 6"
    assert 0 < second["kp2d_median_px"] < first["kp2d_median_px"]


def test_options_may_stand_anywhere(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--format=csv", f"storage.root={root}", "rounds"],
        [f"storage.root={root}", "rounds", "--format", "csv"],
    ):
        assert main(words) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert [row["round"] for row in rows] == ["0", "1"]


TABLES = ("errors", "decisions", "start sources", "cameras", "rejections")


def test_show_gives_quantiles_per_data_set(inspect: Command, root: str) -> None:
    tables = json.loads(inspect("show", "1", "--format", "json"))
    assert list(tables) == [f"{name} of round 1" for name in TABLES]
    errors = {(row["dataset"], row["measure"]): row for row in tables["errors of round 1"]}
    error, px = errors["photos", "kp2d_error"], errors["photos", "kp2d_error_px"]
    assert px["p50"] == pytest.approx(256 * error["p50"])
    assert error["people"] == 36
    assert error["p05"] <= error["p25"] <= error["p50"] <= error["p75"] <= error["p95"] <= error["max"]
    assert ("video", "pve_mean_mm") in errors
    assert 1.5 < errors["photos", "height_m"]["p50"] < 2.0
    cameras = {row["dataset"]: row for row in tables["cameras of round 1"]}
    assert cameras["photos"]["camera_source"] == "hsmr"
    assert cameras["photos"]["turn_p95_deg"] >= 0
    latest = json.loads(inspect("show", "--format", "json"))
    assert latest["decisions of round 1"] == tables["decisions of round 1"]


def test_diff(inspect: Command) -> None:
    tables = json.loads(inspect("diff", "0", "1", "--format", "json", "--top", "3"))
    decisions = {row["decision"]: row for row in tables["round 0 to 1, by decision of round 1"]}
    assert decisions["improved"]["people"] == 54
    assert decisions["improved"]["kp2d_after_px"] == pytest.approx(0.9 * decisions["improved"]["kp2d_before_px"])
    assert 40 < decisions["improved"]["angle_change_deg"] < 90
    assert decisions["no_label"]["angle_change_deg"] is None
    assert decisions["all"]["people"] == 60
    best = [row["kp2d_change_px"] for row in tables["round 0 to 1, most improved"]]
    assert best == sorted(best)
    assert len(best) == 3
    same = json.loads(inspect("diff", "1", "1", "--format", "json"))["round 1 to 1, by decision of round 1"]
    assert same[0]["angle_change_deg"] == same[0]["kp2d_change"] == 0


def test_churn_for_programs_and_with_bars_for_people(inspect: Command) -> None:
    rows = {row["angle"]: row for row in json.loads(inspect("churn", "1", "--format", "json"))}
    assert rows["any"]["moved_10_deg"] == 1, "q of every round are drawn anew"
    assert 0.5 < rows["knee_angle_r"]["moved_5_deg"] <= rows["knee_angle_r"]["moved_1_deg"] <= 1
    assert rows["any"]["flip_flop"] is None
    same = json.loads(inspect("churn", "1", "--against", "1", "--format", "json"))
    assert all(row["moved_1_deg"] == 0 for row in same)
    text = inspect("churn", "1")
    assert "churn from round 0 to 1: 54 people" in text
    assert "█" * 40 in text


def test_sql_over_all_rounds_or_one(inspect: Command) -> None:
    query = "SELECT round, count(*) AS people, max(len(q)) AS dofs FROM labels GROUP BY 1 ORDER BY 1"
    assert json.loads(inspect("sql", query, "--format", "json")) == [
        {"round": 0, "people": 60, "dofs": 46},
        {"round": 1, "people": 60, "dofs": 46},
    ]
    assert inspect("sql", query, "--round", "1", "--format", "csv") == "round,people,dofs\n1,60,46\n"
    (row,) = csv.DictReader(io.StringIO(inspect("sql", "SELECT cam_t FROM labels LIMIT 1", "--format", "csv")))
    assert len(json.loads(row["cam_t"])) == 3
    assert json.loads(inspect("sql", "SELECT 'NaN'::DOUBLE AS x", "--format", "json")) == [{"x": None}]


def test_tables_shorten_vectors_and_long_results(inspect: Command) -> None:
    out = inspect("sql", "SELECT key, q FROM labels LIMIT 1")
    assert "46 values" in out.replace("\n", " ")
    assert "more rows" in inspect("sql", "SELECT * FROM range(300)")


def test_lineage_prints_the_chain(inspect: Command) -> None:
    chain = json.loads(inspect("lineage", "1", "--format", "json"))
    assert [item["round"] for item in chain] == [1, 0]
    assert chain[0]["parent_snapshot_id"] is not None
    assert chain[0]["inputs"][0]["etag"] == "e"
    assert chain[0]["config"].startswith("fit:")
    text = inspect("lineage", "1")
    assert "lineage of round 0" in text
    assert "3 shards" in text
    assert "50 % regions hold 50.0%, 90 % regions hold 75.0% of the hidden keypoints of 54 people" in text
    assert "kp2d_heldout_in_50 p50" not in text
    assert chain[0]["metrics"]["kp2d_heldout_in_90"]["mean"] == 0.75


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "7"], "Round 7 is not published"),
        (["lineage", "7"], "published: 0, 1"),
        (["churn", "7"], "Round 7 is not published"),
        (["diff", "0", "7"], "Round 7 is not published"),
        (["sql", "SELECT * FROM labels", "--round", "7"], "Round 7 is not published"),
        (["sql", "SELEC"], "the query failed"),
        (["sql", "SELECT * FROM lables"], "The only table is the view `labels`"),
    ],
)
def test_what_is_not_there_fails_and_says_so(inspect: Command, words: list[str], message: str) -> None:
    assert message in inspect(*words, code=1)


@pytest.mark.parametrize(
    "words", [["rounds"], ["show"], ["diff", "0", "1"], ["churn", "1"], ["sql", "SELECT 1"], ["lineage", "0"]]
)
def test_an_empty_store_names_the_fix(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, f"storage.root={tmp_path}/none"]) == 1
    captured = capsys.readouterr()
    assert "storage.root=" in captured.err
    assert "refine_round.py --round 0" in captured.err
    assert captured.out == ""


def test_unknown_settings_are_refused_with_a_suggestion(inspect: Command) -> None:
    assert "storage.root" in inspect("rounds", "storage.rot=x", code=2)


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "diff 0 1" in capsys.readouterr().out


def test_on_s3(s3_server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, catalog = f"s3://{s3_server.bucket}/inspected", f"sqlite:///{tmp_path}/catalog.db"
    store = LabelStore(root, catalog)
    store.publish(lineage(), stage(store))
    assert main(["show", f"storage.root={root}", f"storage.catalog={catalog}", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions of round 0"][0]["people"] == 36


def test_a_person_through_the_rounds(inspect: Command) -> None:
    first, second = json.loads(inspect("person", "photos", "000001", "000003", "1", "--format", "json"))
    assert (first["round"], first["decision"], first["moved_deg"]) == (0, "converted", None)
    assert (second["round"], second["decision"]) == (1, "improved")
    assert second["kp2d_error"] == pytest.approx(0.9 * first["kp2d_error"])
    assert second["kp2d_px"] == pytest.approx(256 * second["kp2d_error"])
    assert 40 < second["moved_deg"] < 90
    assert "No published round has a row of photos/000001/nobody #0" in inspect(
        "person", "photos", "000001", "nobody", "0", code=1
    )
