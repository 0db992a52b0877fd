"""How long a round took, stage by stage, as far as the times in the store tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.labels import Generation, Lineage
from pipeline.labels.files.layout import run_folder
from pipeline.storage.storage import Storage

_CLOCKS: Final = timedelta(seconds=90)
"""By how much the storage's clock may differ from the driver's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Seconds from one mark to the next, in order; staged: (seconds since the start, share of the shards staged by
    then). earlier: shards that an earlier attempt of the run had staged. None for staged where the files' times are not
    those of the round, as in a copied store.
    """

    seconds: Sequence[tuple[str, float]]
    staged: Sequence[tuple[float, float]] | None
    earlier: int = 0


def stages(storage: Storage, generation: Generation, lineage: Lineage) -> Stages:
    """Of a published round. Raises OSError."""
    started = datetime.fromisoformat(lineage.started)
    finished = None if lineage.finished is None else datetime.fromisoformat(lineage.finished)
    published = generation.published
    folder = run_folder(generation.round, generation.run_id)
    times = sorted(file.modified for file in storage.walk(folder) if _is_sidecar(file.name))
    if not times or times[-1] > published + _CLOCKS:
        return Stages(seconds=[("all of it", _seconds(started, published))], staged=None)
    mine = [time for time in times if time >= started - timedelta(seconds=1)]
    last = max(mine, default=started)
    marks = [("planning, start of Ray, labelling", last), ("audit", finished), ("publishing", published)]
    if len(mine) > 1:
        marks.insert(0, ("planning, start of Ray, first shard", mine[0]))
        marks[1] = ("labelling, to the last shard", last)
    seconds, before = [], started
    for name, mark in marks:
        if mark is not None:
            seconds.append((name, _seconds(before, mark)))
            before = max(before, mark)
    staged = [(_seconds(started, time), (i + 1) / len(mine)) for i, time in enumerate(mine)]
    return Stages(seconds=seconds, staged=_thinned(staged), earlier=len(times) - len(mine))


def _is_sidecar(name: str) -> bool:
    return name.endswith(".json") and not name.rpartition("/")[2].startswith("lineage-")


def _seconds(one: datetime, other: datetime) -> float:
    """At least 0: lineages state whole seconds, and clocks differ."""
    return max((other.astimezone(UTC) - one.astimezone(UTC)).total_seconds(), 0.0)


def _thinned(points: list[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    step = max(1, len(points) // most)
    return points if step == 1 else [*points[::step], points[-1]]
