"""The command: what it does and says, its exit codes, and that a dry run changes nothing."""

from pathlib import Path

import pytest

from jobs.manage_labels import main
from pipeline.labels import LabelStore
from schemas.input_shard import ShardId
from tests.pipeline.labels.label_tables import publish_rounds


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 3)
    return store


def manage(store: LabelStore, *words: str) -> int:
    return main([*words, f"storage.root={store.storage.root}"])


def test_dry_runs_change_nothing(store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name for file in store.storage.walk()}
    for words in (
        ["rollback", "0", "--reason", "r"],
        ["forget", "1", "--reason", "r"],
        ["expire", "--older-than", "0s", "--before-round", "2"],
        ["relocate", "--to", f"{tmp_path}/new", "--move"],
    ):
        assert manage(store, *words, "--dry-run") == 0
    assert {file.name for file in store.storage.walk()} == before
    printed = capsys.readouterr().out
    assert "Would retire rounds 1, 2; round 0 would be the latest." in printed
    assert "Would forget round 1. Made after it: 2." in printed
    assert "generations: round-0, round-1" in printed
    assert "Would move 3 generations" in printed
    assert not (tmp_path / "new").exists()


def test_a_life_of_commands(store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manage(store, "rollback", "1", "--reason", "bad bodies") == 0
    assert manage(store, "withdrawn") == 0
    assert manage(store, "expire", "--older-than", "0s") == 0
    assert manage(store, "verify") == 0
    assert manage(store, "relocate", "--to", f"{tmp_path}/new", "--move") == 0
    printed = capsys.readouterr().out
    for line in (
        "Retired rounds 2; round 1 is the latest.",
        "round 2 run run-2: retired",
        "generations: retired-round-2-run-2",
        "round 1: 3 files",
        "Moved 2 generations to",
    ):
        assert line in printed
    assert manage(store, "verify") == 1
    assert "were moved: use storage.root=" in capsys.readouterr().err
    moved = LabelStore(f"{tmp_path}/new")
    file = Path(moved.files(0)[ShardId("photos", "000000")])
    file.write_bytes(file.read_bytes() + b"x")
    assert manage(moved, "verify") == 1
    captured = capsys.readouterr()
    assert "round 0: 3 files" in captured.out
    assert "1 NOT as published" in captured.out
    assert "changed: data/round=00000/run=run-0/dataset=photos/000000.parquet" in captured.out
    assert "restore the files from a backup" in captured.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["rollback", "2", "--reason", "r"], 1, "latest generation"),
        (["rollback", "9", "--reason", "r"], 1, "Round 9 is not published"),
        (["forget", "0", "--reason", "r"], 1, "--with-children"),
        (["verify", "7"], 1, "Round 7 is not published"),
        (["expire", "--before-round", "5"], 1, "No generation would be left"),
        (["verify", "storage.rot=x"], 2, "Did you mean storage.root"),
        (["import", "--round", "0", "--tars", "/no/such/{0..2}.tar"], 2, "input shards not found"),
        (["import", "--round", "0", "--npz", "/no/such.npz", "data.shards=x.tar"], 1, "no npz that can be read"),
    ],
)
def test_what_cannot_be_done_is_said(
    store: LabelStore, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage(store, *words) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["rollback", "1"], ["rollback", "1", "--reason", " "], ["expire", "--older-than", "x"]]
)
def test_bad_usage_is_refused(store: LabelStore, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        manage(store, *words)
