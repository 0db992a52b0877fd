"""An export says which snapshot it is of, and whether it still is what was exported."""

import json
from pathlib import Path

import pytest

from jobs.manage_labels import main
from pipeline.labels import LabelStore
from tests.pipeline.labels.label_tables import publish_rounds


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 2)
    return store


def manage(store: LabelStore, *words: str) -> int:
    return main([*words, f"storage.root={store.storage.root}"])


@pytest.mark.parametrize(("form", "to"), [("parquet", "x.parquet"), ("npz", "x.npz"), ("shards", "folder")])
def test_every_form_names_its_snapshot(
    form: str, to: str, store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = tmp_path / "out" / to
    destination.parent.mkdir()
    assert manage(store, "export", "1", "--as", form, "--to", str(destination)) == 0
    snapshot = store.generation(1).snapshot_id
    assert f"Snapshot {snapshot} of round 1" in capsys.readouterr().out
    assert manage(store, "check-export", str(destination)) == 0
    printed = capsys.readouterr().out
    assert f"round 1, snapshot {snapshot} of {store.storage.root}, as {form}" in printed
    assert "of the generation that is published today" in printed


def test_changed_lost_and_added_files_are_named(
    store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert manage(store, "export", "0", "--as", "shards", "--to", str(folder)) == 0
    files = sorted(folder.rglob("*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"x")
    files[1].unlink()
    (folder / "other.txt").write_text("")
    capsys.readouterr()
    assert manage(store, "check-export", str(folder)) == 1
    printed = capsys.readouterr()
    assert f"{files[0].relative_to(folder)} has changed" in printed.out
    assert f"{files[1].relative_to(folder)} is gone" in printed.out
    assert "other.txt is not of this export" in printed.out
    assert "3 files are not as they were exported" in printed.err


def test_an_export_of_a_generation_that_was_replaced(
    store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.parquet"
    assert manage(store, "export", "1", "--as", "parquet", "--to", str(path)) == 0
    assert manage(store, "rollback", "0", "--reason", "wrong") == 0
    assert manage(store, "check-export", str(path)) == 1
    assert "round 1 is another one today" in capsys.readouterr().err
    elsewhere = LabelStore(str(tmp_path / "elsewhere"))
    assert manage(elsewhere, "check-export", str(path)) == 0
    assert "Name that store in storage.root" in capsys.readouterr().out


def test_what_is_no_export(store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manage(store, "check-export", str(tmp_path)) == 1
    assert "has no export.json" in capsys.readouterr().err
    for damaged in ("{", "[]", json.dumps({"round": 1})):
        (tmp_path / "export.json").write_text(damaged)
        assert manage(store, "check-export", str(tmp_path)) == 1
        assert "is damaged" in capsys.readouterr().err
