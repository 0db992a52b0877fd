"""One pass over the label files of a generation and of the one it is compared with: all that their report says."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.labels import Generation, LabelStore, StagedShard, read_labels
from pipeline.labels.files.layout import sidecar_file
from pipeline.report.figures import COLUMNS, Changes, LabelFigures, label_figures, matched
from pipeline.report.people import ShownPeople, shown_people
from pipeline.storage.storage import Storage
from schemas.input_shard import ShardId

_THREADS: Final = 8

Refused = Mapping[str, Counter[str]]
"""Data set -> how often each reason of rejection was recorded."""


@dataclass(frozen=True)
class Measured:
    """What is told of a generation, by data set where it says so. before, changes: empty without a generation to
    compare with. refused_before: None without one, or where its sidecars are gone.
    """

    after: Mapping[str, LabelFigures]
    before: Mapping[str, LabelFigures]
    changes: Mapping[str, Changes]
    people: ShownPeople
    refused: Refused | None
    refused_before: Refused | None

    @property
    def everyone(self) -> LabelFigures | None:
        """Of all data sets; None for a generation without rows."""
        return _total(self.after.values())

    @property
    def everyone_before(self) -> LabelFigures | None:
        return _total(self.before.values())

    @property
    def every_change(self) -> Changes | None:
        found: Changes | None = None
        for item in self.changes.values():
            found = item if found is None else found + item
        return found


def measure(store: LabelStore, round: int, against: int | None) -> Measured:
    """Of a generation, beside another one of the same store, in the memory of a few shards.

    Raises LabelStoreError, OSError.
    """
    later = store.files(round)
    earlier = {} if against is None else store.files(against)
    after: dict[str, LabelFigures] = {}
    before: dict[str, LabelFigures] = {}
    changes: dict[str, Changes] = {}
    people = ShownPeople()
    with ThreadPoolExecutor(_THREADS) as threads:
        shards = sorted({*later, *earlier})
        for shard, item in zip(
            shards, threads.map(lambda shard: _shard(later.get(shard), earlier.get(shard)), shards), strict=True
        ):
            name = shard.dataset
            if item.after is not None:
                after[name] = after[name] + item.after if name in after else item.after
            if item.before is not None:
                before[name] = before[name] + item.before if name in before else item.before
            if item.changes is not None:
                changes[name] = changes[name] + item.changes if name in changes else item.changes
            people += item.people
        refused = refusals(store, round, threads)
        refused_before = None if against is None else refusals(store, against, threads)
    return Measured(after, before, changes, people, refused, refused_before)


@dataclass(frozen=True)
class _Shard:
    after: LabelFigures | None
    before: LabelFigures | None
    changes: Changes | None
    people: ShownPeople


def _shard(after_url: str | None, before_url: str | None) -> _Shard:
    before = None if before_url is None else read_labels(before_url, COLUMNS)
    old = None if before is None else label_figures(before)
    if after_url is None:
        return _Shard(None, old, None, ShownPeople())
    after = read_labels(after_url, COLUMNS)
    if before is None:
        nothing = np.full(len(after), np.nan)
        return _Shard(label_figures(after), None, None, shown_people(after, nothing, nothing))
    pair = matched(after, before)
    return _Shard(label_figures(after), old, pair.changes, shown_people(after, pair.before_px, pair.changed_deg))


def refusals(store: LabelStore, round: int, threads: ThreadPoolExecutor) -> Refused | None:
    """Of a generation, from the sidecars of its shards; None where one is gone."""
    generation, lineage = store.generation(round), store.lineage(round)
    shards = sorted(store.files(round).keys() | {item.id for item in lineage.inputs})
    try:
        found = list(threads.map(lambda shard: _sidecar(store.storage, generation, shard), shards))
    except (FileNotFoundError, ValueError):
        return None
    refused: dict[str, Counter[str]] = {}
    for sidecar in found:
        reasons = Counter(rejection.reason.value for rejection in sidecar.rejections)
        refused[sidecar.dataset] = refused.get(sidecar.dataset, Counter()) + reasons
    return refused


def _sidecar(storage: Storage, generation: Generation, shard: ShardId) -> StagedShard:
    return StagedShard.from_json(
        storage.read(sidecar_file(generation.round, generation.run_id, shard.dataset, shard.shard))
    )


def _total(figures: Iterable[LabelFigures]) -> LabelFigures | None:
    found: LabelFigures | None = None
    for item in figures:
        found = item if found is None else found + item
    return found
