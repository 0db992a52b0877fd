"""Relocation: everything reads the same at the new place, and a killed or disturbed one loses nothing."""

from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import StaticTable

from pipeline.labels import CatalogError, LabelStore, LabelStoreError
from pipeline.labels.upkeep import relocate as relocation
from pipeline.labels.upkeep.forget import forget
from pipeline.labels.upkeep.relocate import relocate
from pipeline.labels.upkeep.rollback import rollback
from pipeline.labels.upkeep.verify import verify
from schemas.input_shard import ShardId
from tests.pipeline.labels.conftest import NewWarehouse
from tests.pipeline.labels.label_tables import lineage, publish_rounds, stage


def filled(store: LabelStore) -> LabelStore:
    """Rounds 0 to 2 published, a round 3 retired, a round 2 forgotten and made again."""
    publish_rounds(store, 4)
    rollback(store, 2, "r")
    forget(store, 2, "f")
    again = lineage(2, "run-2b", parent_snapshot_id=store.generation(1).snapshot_id)
    store.publish(again, stage(store, 2, "run-2b"))
    return store


def content(store: LabelStore) -> dict[str, object]:
    table = store.catalog.load()
    assert table is not None
    return {
        "rounds": store.rounds(),
        "withdrawn": store.withdrawn(),
        "sql": store.query()
        .execute("SELECT round, count(*), round(sum(kp2d_error), 9) FROM labels GROUP BY 1 ORDER BY 1")
        .fetchall(),
        "iceberg": table.scan(selected_fields=("round",)).to_arrow().num_rows,
        "at tag": table.scan(row_filter="round = 1").use_ref("round-1").to_arrow().num_rows,
        "lineage": [store.lineage(generation.round) for generation in store.rounds()],
        "shards": {k: sorted(store.files(generation.round)) for k, generation in enumerate(store.rounds())},
        "faults": [item.faults for item in verify(store)],
    }


def test_a_moved_warehouse_reads_the_same_and_goes_on(new_warehouse: NewWarehouse) -> None:
    source, destination = filled(new_warehouse().store), new_warehouse().store
    before = content(source)
    done = relocate(source, destination, move=True)
    assert (done.generations, done.found) == (5, 0)
    assert content(destination) == before
    assert all(destination.storage.root in url for url in destination.files(1).values())
    with pytest.raises(CatalogError, match=r"were moved: use storage\.root"):
        source.rounds()
    parent = destination.generation(2).snapshot_id
    destination.publish(lineage(3, "run-3c", parent_snapshot_id=parent), stage(destination, 3, "run-3c"))
    assert [generation.round for generation in destination.rounds()] == [0, 1, 2, 3]


def test_from_a_disk_to_s3_and_back(new_warehouse: NewWarehouse, tmp_path: Path) -> None:
    disk, other = LabelStore(str(tmp_path / "disk")), new_warehouse().store
    before = content(filled(disk))
    relocate(disk, other, move=True)
    assert content(other) == before
    relocate(other, disk, move=True)
    assert content(disk) == before
    with pytest.raises(CatalogError, match="were moved"):
        other.rounds()


def test_a_copy_leaves_the_source_as_it_was(new_warehouse: NewWarehouse) -> None:
    source, destination = filled(new_warehouse().store), new_warehouse().store
    before = content(source)
    relocate(source, destination, move=False)
    assert content(source) == content(destination) == before
    with pytest.raises(CatalogError, match="already holds"):
        relocate(source, destination, move=False)


def test_a_catalog_that_serves_both_roots_is_switched_at_once(tmp_path: Path) -> None:
    catalog = f"sqlite:///{tmp_path}/shared.db"
    source = LabelStore(str(tmp_path / "a"), catalog)
    destination = LabelStore(str(tmp_path / "b"), catalog)
    before = content(filled(source))
    with pytest.raises(CatalogError, match="a catalog of its own"):
        relocate(source, destination, move=False)
    relocate(source, destination, move=True)
    assert content(destination) == before
    with pytest.raises(CatalogError, match="holds the labels of"):
        source.rounds()


@pytest.mark.parametrize("step", ["_copy_files", "_rewrite", "_verify", "_leave_word", "_take_over"])
def test_killed_before_any_step_it_is_started_again(
    new_warehouse: NewWarehouse, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*arguments: object, **options: object) -> None:
        raise Died

    source, destination = filled(new_warehouse().store), new_warehouse().store
    before = content(source)
    monkeypatch.setattr(relocation, step, die)
    with pytest.raises(Died):
        relocate(source, destination, move=True)
    monkeypatch.undo()
    if step == "_take_over":
        with pytest.raises(CatalogError, match="were moved"):
            source.rounds()
    else:
        assert content(source) == before
    done = relocate(source, destination, move=True)
    assert content(destination) == before
    assert done.found > 0 or step in ("_copy_files", "_take_over")


def test_a_damaged_copy_is_found_before_the_switch(new_warehouse: NewWarehouse) -> None:
    source, destination = filled(new_warehouse().store), new_warehouse().store
    before = content(source)
    name = source.storage.name(source.files(1)[ShardId("photos", "000000")])
    destination.storage.write(name, bytes(len(source.storage.read(name))))
    with pytest.raises(LabelStoreError, match=r"not as published .*Nothing was switched"):
        relocate(source, destination, move=True)
    assert content(source) == before
    relocate(source, destination, move=True)
    assert content(destination) == before


def test_a_round_published_meanwhile_is_moved_too(new_warehouse: NewWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = new_warehouse().store, new_warehouse().store
    publish_rounds(source, 2)
    verify_once = relocation._verify

    def publish_then_verify(*arguments: Any) -> int:
        if [generation.round for generation in source.rounds()] == [0, 1]:
            record = lineage(2, "run-2", parent_snapshot_id=source.generation(1).snapshot_id)
            source.publish(record, stage(source, 2, "run-2"))
        return verify_once(*arguments)

    monkeypatch.setattr(relocation, "_verify", publish_then_verify)
    relocate(source, destination, move=True)
    assert [generation.round for generation in destination.rounds()] == [0, 1, 2]


def test_an_iceberg_reader_needs_no_catalog(tmp_path: Path) -> None:
    source, destination = LabelStore(str(tmp_path / "a")), LabelStore(str(tmp_path / "b"))
    publish_rounds(source, 2)
    relocate(source, destination, move=True)
    (tmp_path / "a").rename(tmp_path / "gone")
    table = destination.catalog.load()
    assert table is not None
    assert StaticTable.from_metadata(table.metadata_location).scan().to_arrow().num_rows == 120
