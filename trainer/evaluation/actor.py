"""The Ray actor of an evaluation: it loads the bodies once and a network at a time, and scores part after part."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.runtime.config import BodyConfig
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.checkpoint.network_weights import kind_of
from trainer.evaluation.output_bodies import load_bodies
from trainer.evaluation.part import Part
from trainer.evaluation.part_scores import NamedNetwork, PartScores, score_part


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCheckpoint:
    """A checkpoint by its name in tables; digest: sha256 of the file."""

    name: str
    address: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationBrief:
    """What every actor is told. smpl_joints: whether SKEL must give SMPL's joints."""

    body: BodyConfig
    device: str
    smpl_joints: bool
    checkpoints: Mapping[str, NamedCheckpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTask:
    """A part of a data set, and the name of the checkpoint that it is asked of."""

    checkpoint: str
    part: Part


class EvaluationActor:
    """Placement only; the work is `score_part`."""

    def __init__(self, brief: EvaluationBrief) -> None:
        torch.set_num_threads(1)  # actors fill the cores, and sums in another order would change the last bits
        self._brief = brief
        self._bodies = load_bodies(brief.body, brief.device, smpl_joints=brief.smpl_joints)
        self._network: NamedNetwork | None = None

    def ready(self) -> None:
        """Returns once the bodies are loaded."""

    def process(self, task: EvaluationTask) -> PartScores:
        """Raises CheckpointError when the file was replaced since the evaluation began."""
        if self._network is None or self._network.name != task.checkpoint:
            self._network = None  # before the next one is loaded: two may not fit
            self._network = self._load(self._brief.checkpoints[task.checkpoint])
        return score_part(task.part, self._network, self._bodies, self._brief.device)

    def _load(self, wanted: NamedCheckpoint) -> NamedNetwork:
        checkpoint = load_checkpoint(wanted.address)
        if checkpoint.digest != wanted.digest:
            raise CheckpointError(f"{wanted.address} was replaced while it was evaluated. Start again.")
        network = checkpoint.network.to(self._brief.device)
        return NamedNetwork(wanted.name, kind_of(network), network)
