"""Commits by machines whose clocks are wrong: the table's times go forward all the same."""

import itertools
import time
from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from tests.pipeline.labels.label_tables import lineage, stage

DAY = 86_400


def test_times_in_the_table_never_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds published by clocks that are right, ten days ahead, ten days behind: Java readers ask for this order."""
    store = LabelStore(str(tmp_path / "labels"))
    clock = time.time
    for round, shift in enumerate([0, 10 * DAY, -10 * DAY]):
        parent = store.generation(round - 1).snapshot_id if round else None
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda shift=shift: clock() + shift)
            store.publish(
                lineage(round, f"run-{round}", parent_snapshot_id=parent), stage(store, round, f"run-{round}")
            )
    table = store.catalog.load()
    assert table is not None
    assert [generation.round for generation in store.rounds()] == [0, 1, 2]
    updated = [entry.timestamp_ms for entry in table.metadata.metadata_log] + [table.metadata.last_updated_ms]
    by_sequence = sorted(table.metadata.snapshots, key=lambda item: item.sequence_number or 0)
    for times in (
        updated,
        [entry.timestamp_ms for entry in table.metadata.snapshot_log] + [table.metadata.last_updated_ms],
        [snapshot.timestamp_ms for snapshot in by_sequence],
    ):
        assert all(a <= b for a, b in itertools.pairwise(times)), times
    assert updated[-1] >= (clock() + 9 * DAY) * 1000, "the clock that was ahead was believed"
