"""Rollback and forget: what readers see afterwards, what may be published again, and who wins a race."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.labels import (
    Generation,
    LabelStore,
    LabelStoreError,
    NoSuchGenerationError,
    ParentChangedError,
    RoundOrderError,
)
from pipeline.labels.publishing.publication import PublishStep
from pipeline.labels.upkeep.forget import forget
from pipeline.labels.upkeep.rollback import rollback
from tests.pipeline.labels.conftest import Warehouse
from tests.pipeline.labels.label_tables import lineage, publish_rounds, stage


@pytest.fixture
def store(warehouse: Warehouse) -> LabelStore:
    return warehouse.store


def refs(store: LabelStore) -> set[str]:
    table = store.catalog.load()
    assert table is not None
    return set(table.metadata.refs)


def rounds_seen(store: LabelStore) -> dict[str, list[int]]:
    """What each kind of reader sees: the store, SQL, and an Iceberg reader that scans main."""
    table = store.catalog.load()
    assert table is not None
    counted = store.query().execute("SELECT round, count(*) FROM labels GROUP BY 1 ORDER BY 1").fetchall()
    assert {count for _, count in counted} == {60}
    scanned = table.scan(selected_fields=("round",)).to_arrow()["round"].to_pylist()
    assert len(scanned) == 60 * len(set(scanned))
    return {
        "store": [generation.round for generation in store.rounds()],
        "sql": [k for k, _ in counted],
        "iceberg": sorted(set(scanned)),
    }


def everybody_sees(store: LabelStore, *rounds: int) -> bool:
    return rounds_seen(store) == {reader: list(rounds) for reader in ("store", "sql", "iceberg")}


def publish(store: LabelStore, k: int, run_id: str) -> None:
    parent = store.generation(k - 1).snapshot_id if k else None
    store.publish(lineage(k, run_id, parent_snapshot_id=parent), stage(store, k, run_id))


def test_rollback_retires_later_rounds_and_they_may_be_published_again(store: LabelStore) -> None:
    publish_rounds(store, 4)
    snapshot = store.generation(1).snapshot_id
    assert rollback(store, 1, "bad body file") == [2, 3]
    assert everybody_sees(store, 0, 1)
    assert store.generation(1).snapshot_id == snapshot
    assert refs(store) == {"main", "round-0", "round-1", "retired-round-2-run-2", "retired-round-3-run-3"}
    gone = store.withdrawn()
    assert [(w.generation.round, w.how, w.reason) for w in gone] == [(k, "retired", "bad body file") for k in (2, 3)]
    with pytest.raises(NoSuchGenerationError, match=r"published: 0, 1\. It was retired on 20.*: bad body file"):
        store.files(3)
    publish(store, 2, "run-x")
    assert everybody_sees(store, 0, 1, 2)
    assert store.generation(2).run_id == "run-x"


def test_the_same_run_may_publish_its_round_again(store: LabelStore) -> None:
    publish_rounds(store, 2)
    digest = store.generation(1).content_digest
    for _ in range(2):
        rollback(store, 0, "a try")
        assert everybody_sees(store, 0)
        publish(store, 1, "run-1")
        assert everybody_sees(store, 0, 1)
        assert store.withdrawn() == []
        assert store.generation(1).content_digest == digest


def test_a_rollback_to_the_latest_round_is_refused(store: LabelStore) -> None:
    publish_rounds(store, 1)
    with pytest.raises(LabelStoreError, match="latest generation"):
        rollback(store, 0, "why not")
    with pytest.raises(NoSuchGenerationError, match="Round 4"):
        rollback(store, 4, "why not")


def test_forgetting_the_latest_generation(store: LabelStore) -> None:
    publish_rounds(store, 3)
    assert forget(store, 2, "wrong keypoints") == [2]
    assert everybody_sees(store, 0, 1)
    assert refs(store) == {"main", "round-0", "round-1", "forgotten-round-2-run-2"}
    with pytest.raises(RoundOrderError, match="wrong keypoints"):
        publish(store, 2, "run-2")
    publish(store, 2, "run-y")
    assert everybody_sees(store, 0, 1, 2)


def test_forgetting_a_parent_asks_about_its_children(store: LabelStore) -> None:
    publish_rounds(store, 3)
    with pytest.raises(RoundOrderError, match=r"Rounds 2 were made from round 1.*--keep-children"):
        forget(store, 1, "bad")
    assert everybody_sees(store, 0, 1, 2)
    assert forget(store, 1, "bad", with_children=True) == [1, 2]
    assert everybody_sees(store, 0)


def test_children_that_stay_are_whole_and_their_parents_place_stays_empty(store: LabelStore) -> None:
    publish_rounds(store, 3)
    forget(store, 1, "bad", keep_children=True)
    assert everybody_sees(store, 0, 2)
    assert store.lineage(2).parent_run_id is None or store.lineage(2).round == 2
    assert store.read_all(2).num_rows == 60
    with pytest.raises(RoundOrderError, match="Continue with round 3"):
        publish(store, 1, "run-z")
    publish(store, 3, "run-3")
    assert everybody_sees(store, 0, 2, 3)


def test_a_rollback_does_not_bring_a_forgotten_round_back(store: LabelStore) -> None:
    publish_rounds(store, 4)
    forget(store, 1, "bad", keep_children=True)
    rollback(store, 2, "and that too")
    assert everybody_sees(store, 0, 2)
    publish(store, 3, "run-w")
    assert everybody_sees(store, 0, 2, 3)


def test_a_round_in_flight_when_its_parent_is_withdrawn_is_not_published(store: LabelStore) -> None:
    publish_rounds(store, 2)
    parent = store.generation(1).snapshot_id

    def withdraw(step: PublishStep) -> None:
        if step is PublishStep.BRANCH_AUDITED:
            rollback(store, 0, "just now")

    with pytest.raises(ParentChangedError):
        store.publish(lineage(2, "run-2", parent_snapshot_id=parent), stage(store, 2, "run-2"), on_step=withdraw)
    assert everybody_sees(store, 0)


def test_a_round_that_is_withdrawn_while_it_is_being_forgotten_is_named(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_rounds(store, 3)
    look = store.generation

    def withdrawn_after_the_look(round: int) -> Generation:
        found = look(round)
        monkeypatch.undo()
        forget(store, round, "somebody else")
        return found

    monkeypatch.setattr(store, "generation", withdrawn_after_the_look)
    with pytest.raises(NoSuchGenerationError, match="Round 2 is not published any more"):
        forget(store, 2, "f")
    assert everybody_sees(store, 0, 1)


def test_withdrawals_at_the_same_time_end_in_one_state(store: LabelStore, warehouse: Warehouse) -> None:
    publish_rounds(store, 3)

    def attempt(what: int) -> str:
        try:
            own = warehouse.store
            rollback(own, 1, "r") if what % 2 else forget(own, 2, "f")
        except LabelStoreError as error:
            return type(error).__name__
        return "done"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    assert outcomes.count("done") == 1
    assert everybody_sees(store, 0, 1)
    assert len(store.withdrawn()) == 1
