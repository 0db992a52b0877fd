"""What passes between the driver of a training run and its workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pipeline.labels import Storage
from trainer.data import LabelIndex
from trainer.training.record import run_folder
from trainer.training.train_config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What every worker of a run is told; picklable. init_uri: the checkpoint its weights start from, if any."""

    config: TrainConfig
    storage: Storage
    index: LabelIndex
    round: int
    training_id: str
    snapshot_id: int
    body_digest: str
    code_revision: str
    init_uri: str | None

    def file(self, name: str) -> str:
        """Name below the storage root of one of the run's files."""
        return f"{run_folder(self.round, self.training_id)}/{name}"


class Place(NamedTuple):
    """Which of how many workers this is, and where it computes."""

    rank: int
    world: int
    device: torch.device


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What rank 0 tells the driver now and then: steps done and planned, people seen, the mean loss of the last step
    that was read (None before), and at a validation its row of the history."""

    step: int
    steps: int
    people: int
    loss: float | None
    validation: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: what goes into its record. worker_groups: from which step on how many workers."""

    steps: int
    epochs: int
    stopped_because: str
    history: list[dict[str, float]]
    losses: list[float]
    best: dict[str, float]
    best_checkpoint: str
    data_counts: Mapping[str, int]
    worker_groups: list[tuple[int, int]]
