"""The record of a training run below the storage root: what it was trained on, what came out, which checkpoint is best.

<root>/training/round=00001/<training_id>.json          the record
<root>/training/round=00001/run=<training_id>/...       saved state, best checkpoint, metrics, TensorBoard events
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.labels import Storage
from trainer.data import JoinCounts, PlannedRows, total
from trainer.network.variants import NetworkHead

Status = Literal["running", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """One training run on generation `round`, pinned by `snapshot_id`. Times are ISO 8601 in UTC.

    best_checkpoint: name below the storage root; best_digest: SHA-256 of the file. best: held-out metrics of that
    checkpoint. history: one row per validation. data_counts: what became of every label row in the last epoch.
    fold, folds: of cross-fitting, whose people it was trained without; one fold: it was trained on all. head: of the
    network, `smpl` for HMR2.0, whose errors are to other labels than HSMR's. workers_asked: how many, `2` or `2..8`;
    workers: of the last group, worker_groups: from which step on how many.
    """

    round: int
    training_id: str
    snapshot_id: int
    status: Status
    variant: str
    config: str  # the whole configuration, YAML
    config_digest: str
    body_digest: str
    code_revision: str
    init_uri: str | None
    init_digest: str | None
    started: str
    finished: str | None = None
    stopped_because: str | None = None
    steps: int = 0
    epochs: int = 0
    workers: int = 0
    ray_job_id: str | None = None
    best_checkpoint: str | None = None
    best_digest: str | None = None
    best: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    data_counts: Mapping[str, int] = field(default_factory=dict)
    fold: int = 0
    folds: int = 1
    head: NetworkHead = "skel"
    workers_asked: str = ""
    worker_groups: Sequence[Sequence[int]] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "TrainingRecord":
        values: dict[str, Any] = json.loads(data)
        for name in ("history", "worker_groups"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


def row_counts(rows: PlannedRows, counts: Iterable[JoinCounts]) -> dict[str, int]:
    """What became of every label row in an epoch: of the plan, and of the streams of all ranks."""
    done = total(counts)
    planned = {name: getattr(rows, name) for name in ("rows", "drawn", "not_drawn", "held_out")}
    left_out = {f"left_out_{reason}": count for reason, count in rows.left_out.items()}
    lost = {f"lost_{reason}": count for reason, count in done.lost.items()}
    return planned | left_out | {"used": done.used, "repeated": done.repeated} | lost


def records_folder(round: int) -> str:
    return f"training/round={round:05d}"


def run_folder(round: int, training_id: str) -> str:
    """Where the files of one run are, below the storage root."""
    return f"{records_folder(round)}/run={training_id}"


def write_record(storage: Storage, record: TrainingRecord) -> None:
    """Readers see the old record or the whole new one."""
    storage.write(f"{records_folder(record.round)}/{record.training_id}.json", record.to_json())


def read_record(storage: Storage, round: int, training_id: str) -> TrainingRecord | None:
    try:
        return TrainingRecord.from_json(storage.read(f"{records_folder(round)}/{training_id}.json"))
    except FileNotFoundError:
        return None


def read_records(storage: Storage, round: int) -> list[TrainingRecord]:
    """All runs on generation `round`, or on generations that once were round `round`, oldest first."""
    names = [name for name in storage.names(records_folder(round)) if name.endswith(".json")]
    records = [TrainingRecord.from_json(storage.read(f"{records_folder(round)}/{name}")) for name in names]
    return sorted(records, key=lambda record: (record.started, record.training_id))


def best_record(
    storage: Storage,
    round: int,
    snapshot_id: int,
    fold: int = 0,
    folds: int = 1,
    best_by: str = "mpjpe_mm",
    head: NetworkHead = "skel",
) -> TrainingRecord | None:
    """The finished run of this head on this very snapshot, without this fold, with the lowest held-out `best_by`."""
    known = [
        record
        for record in read_records(storage, round)
        if record.snapshot_id == snapshot_id and record.status == "finished" and record.best_checkpoint is not None
    ]
    of_fold = [record for record in known if (record.fold, record.folds, record.head) == (fold, folds, head)]
    return min(of_fold, key=lambda record: record.best.get(best_by, float("inf")), default=None)
