"""The Ray actor of a round: it loads the models once, computes shard after shard, and stages what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch

from pipeline.body import load_smpl
from pipeline.body.gendered_skel import load_skels
from pipeline.fit import Skelify, SmplToSkel
from pipeline.labelling.genders import BodyFits
from pipeline.labelling.predictor import PredictorSource
from pipeline.labels import StagedShard, Staging
from pipeline.labels.exchange.label_sources import LabelSource
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.import_task import import_shard
from pipeline.rounds.parent_labels import parent_labels
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardLabels, ShardTask, process_shard
from schemas.input_shard import ShardId

_THEN: Final = "When that is mended, start the round again: finished shards are reused."


class StagingError(RuntimeError):
    """The label store cannot be written, or does not answer: no shard's fault, so the round ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorBrief:
    """What every actor of a run is told. `parent_files`: (dataset, shard) -> label file of generation round-1.

    predictor: where the network comes from whose predictions start the fits, if there is one. lenses: how people get
    their cameras. imported: whose labels are taken, in the place of fits.
    """

    round: int
    config: RoundConfig
    device: str
    staging: Staging
    parent_files: Mapping[ShardId, str]
    lenses: KnownLenses
    predictor: PredictorSource | None = None
    imported: LabelSource | None = None


def load_models(
    config: RoundConfig, device: str, lenses: KnownLenses, predictor: PredictorSource | None = None
) -> Models:
    """The bodies that `config.body` names, the fits on them, and the network. Raises BodyFileError."""
    body, dtype = config.body, getattr(torch, config.fit.dtype)
    smpl = load_smpl(body.source, device=device, dtype=dtype)
    return Models(
        fits={
            gender: BodyFits(
                smpl=smpl,
                skelify=Skelify(skel, config.fit.skelify),
                converter=SmplToSkel(smpl, skel, config.fit.convert),
            )
            for gender, skel in load_skels(body.source, body.gender, device, dtype).items()
        },
        lenses=lenses,
        predictor=None if predictor is None else predictor.load(device),
    )


class ShardActor:
    """Placement only; the work is `process_shard`, or `import_shard`."""

    def __init__(self, brief: ActorBrief) -> None:
        # One thread each: actors fill the cores, and sums in another order would change labels in the last bits.
        torch.set_num_threads(1)
        self._brief = brief
        self._models = load_models(brief.config, brief.device, brief.lenses, brief.predictor)

    def ready(self) -> None:
        """Returns once the models are loaded."""

    def process(self, task: ShardTask) -> StagedShard:
        """Label one shard and stage the result. Raises StagingError if the store refuses it or does not answer."""
        brief = self._brief
        try:
            labels = self._labels(task)
        except Exception as error:
            self._check_store(error)
            raise
        try:
            return brief.staging.write(
                task.dataset, task.shard, labels.table, readable=labels.readable, rejections=labels.rejections
            )
        except Exception as error:  # whatever the file system or S3 raises
            raise StagingError(
                f"cannot stage {task.dataset}/{task.shard} under {brief.staging.storage.root}: {error}. {_THEN}"
            ) from error

    def _labels(self, task: ShardTask) -> ShardLabels:
        brief = self._brief
        parent = parent_labels(brief.parent_files.get(task.id), brief.config.body.gender)
        if brief.imported is not None:
            return import_shard(task, brief.round, parent, self._models, brief.config, brief.imported)
        return process_shard(task, brief.round, parent, self._models, brief.config)

    def _check_store(self, failure: Exception) -> None:
        """Raises StagingError where the store is gone: then it is no shard's fault, and each would fail as slowly."""
        storage = self._brief.staging.storage
        try:
            storage.now()
        except Exception as error:  # whatever the file system or S3 raises
            raise StagingError(
                f"{storage.root} does not answer: {error}. A shard failed before: {failure}. {_THEN}"
            ) from error
