"""Publishing: what readers see, what a kill leaves behind, and who wins a race."""

import hashlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import AssertRefSnapshotId
from pyiceberg.table.update.snapshot import ManageSnapshots
from sqlalchemy.exc import OperationalError

from pipeline.labels import (
    AlreadyPublishedError,
    CatalogError,
    LabelStore,
    LabelStoreError,
    NoSuchGenerationError,
    ParentChangedError,
    PublishStep,
    derive_run_id,
    vectors,
)
from pipeline.labels.publishing.audit_branch import audit_branch
from pipeline.labels.upkeep.verify import verify
from schemas.labels import LABEL_SCHEMA
from tests.pipeline.labels.conftest import NewWarehouse, Warehouse
from tests.pipeline.labels.label_tables import CONFIG_DIGEST, SHARDS, label_table, lineage, publish_rounds, stage
from tests.repository import ROOT


@pytest.fixture
def store(warehouse: Warehouse) -> LabelStore:
    """Every test of this fixture runs on a disk, on S3 with SQLite, and on S3 with PostgreSQL."""
    return warehouse.store


@pytest.fixture
def local_store(tmp_path: Path) -> LabelStore:
    return LabelStore(str(tmp_path / "labels"))


def publisher(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.pipeline.labels.publisher", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refs(store: LabelStore) -> set[str]:
    table = store._catalog.load()
    return set() if table is None else set(table.metadata.refs)


def test_what_was_staged_is_what_is_read(store: LabelStore) -> None:
    publish_rounds(store, 2)
    assert [generation.round for generation in store.rounds()] == [0, 1]
    assert set(store.files(1)) == set(SHARDS)
    for dataset, shard in SHARDS:
        assert store.read(1, dataset, shard).equals(label_table(dataset, shard, round=1))
    assert store.read_all(0).num_rows == 60
    assert store.read_all(0).schema.equals(LABEL_SCHEMA)
    assert refs(store) == {"main", "round-0", "round-1"}


def test_generation_and_lineage_tell_how_it_came_to_be(store: LabelStore) -> None:
    publish_rounds(store, 2)
    generation, record = store.generation(1), store.lineage(1)
    assert generation.parent_snapshot_id == store.generation(0).snapshot_id == record.parent_snapshot_id
    assert (generation.rows, generation.files, generation.run_id) == (60, 3, "run-1")
    assert generation.decisions == record.decisions == {"improved": 54, "no_label": 6}
    errors = store.read_all(1)["kp2d_error"].drop_null().to_numpy()
    assert record.metrics["kp2d_error"].p50 == pytest.approx(np.median(errors))
    assert generation.metrics == record.metrics
    assert record.config.startswith("fit:")
    assert record.inputs == lineage(1).inputs


def test_pyiceberg_and_duckdb_read_the_same_rows(store: LabelStore) -> None:
    publish_rounds(store, 2)
    table = store._catalog.load()
    assert table is not None
    scanned = table.scan(row_filter="round = 1 and shard = '000001'").to_arrow()
    direct = store.read(1, "photos", "000001")
    assert scanned["kp2d_error"].equals(direct["kp2d_error"])
    assert scanned["q"].to_pylist() == direct["q"].to_pylist()
    assert len(list(table.scan(row_filter="round = 1 and shard = '000001'").plan_files())) == 1
    rows = store.query().execute("SELECT round, count(*), sum(kp2d_error) FROM labels GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [
        (k, 60, pytest.approx(store.read_all(k)["kp2d_error"].drop_null().to_numpy().sum())) for k in (0, 1)
    ]
    assert "round" in store.query(1).sql("SELECT * FROM labels").columns


def test_names_with_odd_characters_stay_one_shard_each(store: LabelStore) -> None:
    shards = (("a b/c#1", "x[0]*?"), ("a b", "100%"), ("é", "..."))
    store.publish(lineage(shards=shards), stage(store, shards=shards))
    assert set(store.files(0)) == set(shards)
    assert store.read(0, *shards[0])["dataset"][0].as_py() == "a b/c#1"
    assert store.query().execute("SELECT count(DISTINCT (dataset, shard)) FROM labels").fetchall() == [(3,)]
    table = store._catalog.load()
    assert table is not None
    assert table.scan().to_arrow().num_rows == 60


def test_unpublished_files_are_seen_by_nobody(store: LabelStore) -> None:
    publish_rounds(store, 1)
    stage(store, 1, "run-b")
    assert [generation.round for generation in store.rounds()] == [0]
    assert store.query().execute("SELECT count(*) FROM labels").fetchall() == [(60,)]


def test_a_shard_without_people_has_no_file(store: LabelStore) -> None:
    staging = store.staging(0, "run-a", CONFIG_DIGEST)
    empty = staging.write("photos", "e", label_table("photos", "e", rows=0), readable=0)
    shards = (*SHARDS, ("photos", "e"))
    generation = store.publish(lineage(shards=shards), [*stage(store), empty]).generation
    assert generation.files == 3
    with pytest.raises(NoSuchGenerationError, match="no labels of photos/e"):
        store.read(0, "photos", "e")


def test_the_same_run_is_published_once(store: LabelStore) -> None:
    staged = stage(store)
    first = store.publish(lineage(), staged)
    again = store.publish(lineage(), staged)
    assert (first.already_published, again.already_published) == (False, True)
    assert again.generation == store.generation(0) == first.generation


def test_another_run_of_a_published_round_is_refused(store: LabelStore) -> None:
    publish_rounds(store, 1)
    before = store.rounds(), refs(store)
    with pytest.raises(AlreadyPublishedError, match=r"by run run-0, .*; run run-b changes nothing.*round 1"):
        store.publish(lineage(0, "run-b"), stage(store, 0, "run-b"))
    assert (store.rounds(), refs(store)) == before


def test_the_parent_must_be_the_one_the_run_started_from(store: LabelStore) -> None:
    with pytest.raises(ParentChangedError, match="needs round 0"):
        store.publish(lineage(1, parent_snapshot_id=7), stage(store, 1))
    publish_rounds(store, 1)
    with pytest.raises(ParentChangedError, match="computed from snapshot 7"):
        store.publish(lineage(1, parent_snapshot_id=7), stage(store, 1))
    assert refs(store) == {"main", "round-0"}


def test_a_store_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "nothing"))
    assert store.rounds() == []
    with pytest.raises(NoSuchGenerationError, match=r"storage.root"):
        store.generation(0)
    with pytest.raises(NoSuchGenerationError, match=r"storage.root"):
        store.query()
    assert not (tmp_path / "nothing").exists()


def test_a_round_that_is_not_there_names_those_that_are(store: LabelStore) -> None:
    publish_rounds(store, 1)
    with pytest.raises(NoSuchGenerationError, match=r"Round 5 is not published.*published: 0"):
        store.files(5)


@pytest.mark.parametrize("root", ["", "gs://bucket/x", "s3://", "s3://key:secret@bucket/x"])
def test_unusable_roots_are_refused(root: str) -> None:
    with pytest.raises(ValueError, match=r"storage.root"):
        LabelStore(root)


def test_a_catalog_uri_with_a_password_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="pgpass") as caught:
        LabelStore(str(tmp_path), "postgresql+psycopg://me:sesame@host/db")
    assert "sesame" not in str(caught.value)


def test_a_root_published_with_another_catalog_is_not_forked(store: LabelStore, tmp_path: Path) -> None:
    publish_rounds(store, 1)
    other = LabelStore(store.storage.root, f"sqlite:///{tmp_path}/other.db")
    for use in (other.rounds, lambda: other.publish(lineage(0, "run-b"), stage(other, 0, "run-b"))):
        with pytest.raises(CatalogError, match="does not know them"):
            use()


def test_a_changed_lineage_file_is_noticed(store: LabelStore) -> None:
    publish_rounds(store, 1)
    name = store.generation(0).lineage_file
    store.storage.write(name, store.storage.read(name).replace(b"0123abc", b"0123abd"))
    with pytest.raises(LabelStoreError, match="was changed after"):
        store.lineage(0)


def test_a_moved_store_is_reported(local_store: LabelStore, tmp_path: Path) -> None:
    publish_rounds(local_store, 1)
    (tmp_path / "labels").rename(tmp_path / "moved")
    with pytest.raises(CatalogError, match="moved"):
        LabelStore(str(tmp_path / "moved")).rounds()


def test_a_column_added_later_is_null_in_older_generations(warehouse: Warehouse) -> None:
    """docs/labels.md, "Adding a column": newer code publishes round 1, and both codes read both rounds."""
    store = warehouse.store
    publish_rounds(store, 1)
    newer = [sys.executable, "-m", "tests.pipeline.labels.newer_code", warehouse.address]
    assert subprocess.run(newer, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "published\n"
    table = store.catalog.load()
    assert table is not None
    assert {"gain", "gravity"} <= set(table.schema().column_names)
    scanned = table.scan().to_arrow()
    unknown = np.asarray(scanned["gain"].is_null())
    assert [int(unknown[np.asarray(scanned["round"]) == k].sum()) for k in (0, 1)] == [60, 6]
    counted = store.query().execute("SELECT round, count(*), count(gain) FROM labels GROUP BY 1 ORDER BY 1").fetchall()
    assert counted == [(0, 60, 0), (1, 60, 54)]
    assert store.read(0, *SHARDS[0]).schema.equals(LABEL_SCHEMA), "older code reads its own columns ..."
    assert set(LABEL_SCHEMA.names) < set(store.read(1, *SHARDS[0]).column_names), "... and whatever newer files have"
    assert [item.faults for item in verify(store)] == [(), ()]


def test_a_run_begun_by_older_code_is_not_resumed_by_newer_code(store: LabelStore) -> None:
    staging = store.staging(0, "run-a", CONFIG_DIGEST)
    staged = staging.write(*SHARDS[0], label_table(*SHARDS[0]), readable=20)
    older = label_table(*SHARDS[0]).drop_columns(["iterations"])
    sink = io.BytesIO()
    pq.write_table(older, sink)
    data = sink.getvalue()
    sidecar = replace(staged, file_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    store.storage.write(staged.data_file, data)
    store.storage.write(staged.data_file.removesuffix("parquet") + "json", sidecar.to_json())
    assert staging.find(*SHARDS[0]) is None


def test_a_run_id_depends_on_what_decides_the_labels_and_on_nothing_else() -> None:
    inputs = lineage().inputs
    facts: dict[str, Any] = {
        "round": 1,
        "parent_snapshot_id": 3,
        "checkpoint_digest": None,
        "body_digest": "b",
        "config_digest": "c",
    }
    run_id = derive_run_id(**facts, inputs=inputs)
    assert len(run_id) == 12
    assert derive_run_id(**facts, inputs=inputs[::-1]) == run_id
    changes: list[dict[str, Any]] = [{"round": 2}, {"config_digest": "d"}, {"checkpoint_digest": "x"}]
    assert run_id not in {derive_run_id(**(facts | change), inputs=inputs) for change in changes}
    assert derive_run_id(**facts, inputs=inputs[:2]) != run_id


def test_vectors_reach_torch_without_a_copy(local_store: LabelStore) -> None:
    torch = pytest.importorskip("torch")
    publish_rounds(local_store, 1)
    column = local_store.read(0, "photos", "000000")["q"]
    array = vectors(column)
    assert array.shape == (20, 46)
    assert array.ctypes.data == column.chunk(0).flatten().buffers()[1].address
    with pytest.warns(UserWarning, match="not writable"):
        assert torch.from_numpy(array).data_ptr() == array.ctypes.data
    assert isinstance(column.type, pa.FixedSizeListType)


STEPS = [("--die-at", str(step)) for step in PublishStep]
COMMITS = [("--die-in-commit", str(number)) for number in (1, 2, 3)]  # create the table, branch, publish


@pytest.mark.parametrize("death", STEPS + COMMITS, ids=lambda death: " ".join(death))
def test_killed_anywhere_nothing_is_half_visible_and_a_restart_succeeds(
    warehouse: Warehouse, death: tuple[str, str]
) -> None:
    process = publisher(warehouse.address, "--run", "run-a", *death)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    done = death == ("--die-at", "published")
    store = warehouse.store
    assert [generation.round for generation in store.rounds()] == ([0] if done else [])

    staged = [store.staging(0, "run-a", CONFIG_DIGEST).find(*shard) for shard in SHARDS]
    publication = store.publish(lineage(), [item for item in staged if item is not None])
    assert publication.already_published is done
    assert store.read_all(0).num_rows == 60
    assert store.query().execute("SELECT count(*) FROM labels").fetchall() == [(60,)]
    assert refs(store) == {"main", "round-0"}
    publish_next(store)


def test_all_that_the_catalog_leads_to_is_on_the_disk(local_store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's commit is at once. What lay in the cache alone is lost with a machine, or a disk made read-only."""
    synced: set[int] = set()
    fsync = os.fsync

    def noted(file: int) -> None:
        fsync(file)
        synced.add(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    publish_rounds(local_store, 2)
    files = [file.name for file in local_store.storage.walk() if not file.name.endswith(".db")]
    assert {Path(name).suffix for name in files} == {".parquet", ".json", ".avro"}
    assert [name for name in files if Path(local_store.storage.url(name)).stat().st_ino not in synced] == []


def publish_next(store: LabelStore) -> None:
    """The table is still good for another round."""
    parent = store.generation(0).snapshot_id
    store.publish(lineage(1, "run-b", parent_snapshot_id=parent), stage(store, 1, "run-b"))
    assert [generation.rows for generation in store.rounds()] == [60, 60]


@pytest.mark.parametrize("runs", [("run-a", "run-bb"), ("run-a", "run-a")], ids=["two runs", "one run twice"])
def test_of_two_publishers_of_a_round_exactly_one_wins(
    new_warehouse: NewWarehouse, tmp_path: Path, runs: tuple[str, str]
) -> None:
    warehouses = [new_warehouse() for _ in range(6)]
    addresses = [warehouse.address for warehouse in warehouses]
    racers = [publisher(*addresses, "--run", run, "--race", f"{tmp_path}/meet") for run in runs]
    outputs = []
    for process in racers:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        outputs.append(out.splitlines())
    loser = "AlreadyPublishedError" if runs[0] != runs[1] else "already"
    for warehouse, *lines in zip(warehouses, *outputs, strict=True):
        assert sorted(line.split()[0] for line in lines) == sorted(["published", loser]), lines
        store = warehouse.store
        (generation,) = store.rounds()
        assert runs[[line == "published" for line in lines].index(True)] == generation.run_id
        assert store.query().execute("SELECT count(*) FROM labels").fetchall() == [(60,)]
        assert refs(store) == {"main", "round-0"}


def test_a_branch_left_by_another_run_is_cleared_by_the_winner(store: LabelStore) -> None:
    class Died(Exception):
        pass

    def stop(step: PublishStep) -> None:
        if step is PublishStep.BRANCHED:
            raise Died

    with pytest.raises(Died):
        store.publish(lineage(0, "run-b"), stage(store, 0, "run-b"), on_step=stop)
    assert audit_branch(0, "run-b") in refs(store)
    store.publish(lineage(), stage(store))
    assert refs(store) == {"main", "round-0"}


def test_a_commit_between_branch_and_publish_is_not_lost(store: LabelStore) -> None:
    """Main moves while a round waits on its branch: the round starts again from the new main."""
    interfered = []

    def interfere(step: PublishStep) -> None:
        if step is PublishStep.BRANCH_AUDITED and not interfered:
            table = store._catalog.load()
            assert table is not None
            with table.transaction() as transaction:
                transaction.update_snapshot().fast_append().commit()
            interfered.append(store._catalog.load())

    publication = store.publish(lineage(), stage(store), on_step=interfere)
    table = store._catalog.load()
    assert table is not None
    other = interfered[0].metadata.refs[MAIN_BRANCH].snapshot_id
    snapshot = table.metadata.snapshot_by_id(publication.generation.snapshot_id)
    assert snapshot is not None
    assert snapshot.parent_snapshot_id == other


def test_a_pyiceberg_transaction_checks_only_its_first_ref(store: LabelStore) -> None:
    """Why `publish` states its conditions itself: once this fails, pyiceberg keeps them all and we may rely on it."""
    publish_rounds(store, 1)
    table = store._catalog.load()
    assert table is not None
    transaction = table.transaction()
    snapshots = ManageSnapshots(transaction).create_tag(store.generation(0).snapshot_id, "t")
    snapshots.set_current_snapshot(snapshot_id=table.metadata.snapshots[0].snapshot_id).commit()
    kept = [r for r in transaction._requirements if isinstance(r, AssertRefSnapshotId)]
    assert [requirement.ref for requirement in kept] == ["t"]


def test_a_failing_catalog_publishes_nothing(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = stage(store)
    commit = SqlCatalog.commit_table

    def refuse(catalog: SqlCatalog, table: Any, requirements: tuple[Any, ...], updates: tuple[Any, ...]) -> Any:
        if any(getattr(update, "ref_name", None) == "round-0" for update in updates):
            raise CommitFailedException("as if another process had been faster")
        return commit(catalog, table, requirements, updates)

    monkeypatch.setattr(SqlCatalog, "commit_table", refuse)
    monkeypatch.setattr("pipeline.labels.table.commit_retries.ATTEMPTS", 3)
    with pytest.raises(LabelStoreError, match="kept changing"):
        store.publish(lineage(), staged)
    monkeypatch.undo()
    assert store.rounds() == []
    assert not store.publish(lineage(), staged).already_published


def test_the_history_of_a_person_is_one_row_a_round(store: LabelStore) -> None:
    publish_rounds(store, 3)
    stage(store, 3, "not-published")
    history = store.history("photos", "000000", "000004", 1)
    assert history["round"].to_pylist() == [0, 1, 2]
    assert set(history["key"].to_pylist()) == {"000004"}
    expected = label_table("photos", "000000", round=2)
    assert history.slice(2).equals(expected.slice(9, 1))
    for person in (("photos", "000000", "000004", 2), ("photos", "nowhere", "000004", 1)):
        with pytest.raises(NoSuchGenerationError, match="No published round has a row"):
            store.history(*person)


def test_a_catalog_created_at_the_same_moment_by_another_is_used(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = SqlCatalog._init_catalog
    attempts: list[int] = []

    def lose_the_race_once(self: SqlCatalog) -> None:
        create(self)
        attempts.append(1)
        if len(attempts) == 1:
            raise OperationalError("CREATE TABLE", None, Exception("table iceberg_tables already exists"))

    monkeypatch.setattr(SqlCatalog, "_init_catalog", lose_the_race_once)
    publish_rounds(store, 1)
    assert [generation.round for generation in store.rounds()] == [0]
