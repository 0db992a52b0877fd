"""Expire deletes what nobody needs and nothing else; verify finds every file that is not as published."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.labels import LabelStore, LabelStoreError, NoSuchGenerationError, RoundOrderError
from pipeline.labels.files.round_lock import RoundLock
from pipeline.labels.inspecting import inspection
from pipeline.labels.publishing.audit_branch import audit_branch
from pipeline.labels.publishing.publication import PublishStep
from pipeline.labels.upkeep.expire import expire
from pipeline.labels.upkeep.forget import forget
from pipeline.labels.upkeep.rollback import rollback
from pipeline.labels.upkeep.verify import Fault, verify
from tests.pipeline.labels.conftest import Warehouse
from tests.pipeline.labels.label_tables import CONFIG_DIGEST, label_table, lineage, publish_rounds, stage
from tests.services.s3_server import S3Server

NOW = timedelta(0)


@pytest.fixture
def store(warehouse: Warehouse) -> LabelStore:
    return warehouse.store


def names(store: LabelStore, folder: str = "data") -> set[str]:
    return {file.name for file in store.storage.walk(folder)}


def let_time_pass() -> None:
    """S3 and file systems stamp files by coarse clocks."""
    time.sleep(1.1)


def faults(store: LabelStore, *rounds: int) -> list[tuple[str, str]]:
    found = verify(store, rounds or None)
    return [(fault.file.rpartition("/")[2], str(fault.fault)) for item in found for fault in item.faults]


def test_what_a_rollback_retired_expires_with_its_files(store: LabelStore) -> None:
    publish_rounds(store, 3)
    kept = {name for name in names(store) if "round=00002" not in name}
    rollback(store, 1, "bad")
    let_time_pass()
    assert expire(store).generations == ()
    planned = expire(store, older_than=NOW, dry_run=True)
    assert len(store.withdrawn()) == 1
    done = expire(store, older_than=NOW)
    assert (
        (done.generations, done.runs)
        == (planned.generations, planned.runs)
        == (
            ("retired-round-2-run-2",),
            ("data/round=00002/run=run-2",),
        )
    )
    assert {file.name for file in planned.files} <= {file.name for file in done.files}
    assert names(store) == kept
    assert store.withdrawn() == []
    assert faults(store) == []
    assert store.query().execute("SELECT count(*) FROM labels").fetchall() == [(120,)]
    assert expire(store, older_than=NOW).files == ()


def test_old_generations_expire_and_later_ones_stay_whole(store: LabelStore) -> None:
    publish_rounds(store, 4)
    let_time_pass()
    with pytest.raises(LabelStoreError, match="No generation would be left"):
        expire(store, older_than=NOW, before_round=4)
    assert expire(store, before_round=2).generations == ()  # younger than the default age
    done = expire(store, older_than=NOW, before_round=2)
    assert done.generations == ("round-0", "round-1")
    assert [generation.round for generation in store.rounds()] == [2, 3]
    assert faults(store) == []
    left = {name.split("/")[1] for name in names(store) if name.endswith(".parquet")}
    assert left == {"round=00002", "round=00003"}
    table = store.catalog.load()
    assert table is not None
    assert set(table.scan().to_arrow()["round"].to_pylist()) == {2, 3}
    at_tag = table.scan(row_filter="round = 3").use_ref("round-3").to_arrow()
    assert at_tag.num_rows == 60
    chain = inspection.lineage(store, 3)
    assert [item.round for item in chain] == [3, 2, 1, 0]  # the lineage outlives the labels
    with pytest.raises(RoundOrderError, match="forgotten or expired"):
        store.publish(lineage(), stage(store))
    publish_next = lineage(4, "run-4", parent_snapshot_id=store.generation(3).snapshot_id)
    store.publish(publish_next, stage(store, 4, "run-4"))
    assert [generation.round for generation in store.rounds()] == [2, 3, 4]


def test_a_forgotten_parent_expires_under_its_children(store: LabelStore) -> None:
    publish_rounds(store, 3)
    forget(store, 1, "bad", keep_children=True)
    let_time_pass()
    assert expire(store, older_than=NOW).generations == ("forgotten-round-1-run-1",)
    assert faults(store) == []
    assert [item.round for item in inspection.lineage(store, 2)] == [2, 1, 0]
    assert store.read_all(2).num_rows == 60
    table = store.catalog.load()
    assert table is not None
    assert table.scan().to_arrow().num_rows == 120


def test_unpublished_runs_go_when_old_and_stay_when_young_or_busy(store: LabelStore) -> None:
    publish_rounds(store, 1)
    stage(store, 1, "run-dead")
    let_time_pass()
    assert expire(store).runs == ()
    with RoundLock(store.storage, 1, "a driver"):
        skipped = expire(store, older_than=NOW)
        assert skipped.runs == ()
        assert "is being worked on by a driver" in skipped.skipped[0]
    assert expire(store, older_than=NOW).runs == ("data/round=00001/run=run-dead",)
    assert not any("run-dead" in name for name in names(store))
    assert faults(store) == []


def test_a_round_that_waits_on_its_branch_keeps_its_files(store: LabelStore) -> None:
    publish_rounds(store, 1)
    record = lineage(1, "run-1", parent_snapshot_id=store.generation(0).snapshot_id)

    def expire_meanwhile(step: PublishStep) -> None:
        if step is PublishStep.BRANCHED:
            assert expire(store, older_than=timedelta(seconds=60)).runs == ()

    store.publish(record, stage(store, 1, "run-1"), on_step=expire_meanwhile)
    assert faults(store) == []


def test_a_branch_that_a_killed_publisher_left_goes(store: LabelStore) -> None:
    class Died(Exception):
        pass

    def die(step: PublishStep) -> None:
        if step is PublishStep.BRANCHED:
            raise Died

    publish_rounds(store, 1)
    record = lineage(1, "run-b", parent_snapshot_id=store.generation(0).snapshot_id)
    with pytest.raises(Died):
        store.publish(record, stage(store, 1, "run-b"), on_step=die)
    let_time_pass()
    expire(store, older_than=NOW)
    table = store.catalog.load()
    assert table is not None
    assert audit_branch(1, "run-b") not in table.metadata.refs
    expire(store, older_than=NOW)
    assert not any("run-b" in name for name in names(store))
    assert faults(store) == []


def test_what_killed_writers_left_on_a_disk_goes(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 1)
    left = tmp_path / "labels/data/round=00000/run=run-0/dataset=photos/.0123.tmp"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    young = left.with_name(".4567.tmp")
    young.write_bytes(b"half")
    assert [file.name.rpartition("/")[2] for file in expire(store).files] == [".0123.tmp"]
    assert young.exists()
    assert not left.exists()


def test_unfinished_uploads_are_aborted(s3_server: S3Server, tmp_path: Path) -> None:
    store = LabelStore(s3_server.url("uploads"), f"sqlite:///{tmp_path}/catalog.db")
    publish_rounds(store, 1)
    s3 = store.storage.filesystem()
    s3.call_s3("create_multipart_upload", Bucket=s3_server.bucket, Key="uploads/data/big.parquet")
    assert [upload.key for upload in store.storage.unfinished_uploads()] == ["uploads/data/big.parquet"]
    assert expire(store).uploads == ()
    let_time_pass()
    assert len(expire(store, older_than=NOW).uploads) == 1
    assert store.storage.unfinished_uploads() == []
    assert faults(store) == []


def test_expire_of_a_store_that_is_not_there_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    assert expire(LabelStore(str(tmp_path / "labels")), older_than=NOW).files == ()


def test_verify_names_every_file_that_is_not_as_published(store: LabelStore) -> None:
    publish_rounds(store, 2)
    assert [(item.files, item.generation.round) for item in verify(store)] == [(3, 0), (3, 1)]
    assert faults(store) == []
    folder = "data/round=00001/run=run-1"
    storage = store.storage
    data = storage.read(f"{folder}/dataset=photos/000000.parquet")
    storage.write(f"{folder}/dataset=photos/000000.parquet", data[:-1] + b"?")
    storage.delete(f"{folder}/dataset=photos/000001.parquet")
    storage.delete(f"{folder}/dataset=video/000000.json")
    storage.write(f"{folder}/dataset=video/notes.txt", b"mine")
    storage.write(store.generation(1).lineage_file, b"{}")
    assert faults(store, 0) == []
    found = set(faults(store))
    lineage_name = store.generation(1).lineage_file.rpartition("/")[2]
    assert found == {
        ("000000.parquet", Fault.CHANGED),
        ("000001.parquet", Fault.MISSING),
        ("000000.json", Fault.MISSING),
        ("notes.txt", Fault.EXTRA),
        (lineage_name, Fault.CHANGED),
    }
    with pytest.raises(NoSuchGenerationError):
        list(verify(store, [7]))


def test_verify_finds_a_file_changed_together_with_its_sidecar(store: LabelStore) -> None:
    publish_rounds(store, 1)
    staging = store.staging(0, "run-0", CONFIG_DIGEST)
    other = label_table("photos", "000000", seed=1)
    staging.write("photos", "000000", other, readable=20)
    (found,) = verify(store)
    assert [fault.fault for fault in found.faults] == [Fault.CHANGED]
