"""Everything a training run can be told, as one typed tree, and the digest of what can change its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from pipeline.runtime.config import BodyConfig, ConfigError, Device, StorageConfig
from trainer.data import TrainDataConfig
from trainer.network.variants import NetworkCamera, NetworkConfig, NetworkHead, NetworkUncertainty, variant
from trainer.network.vit import VitConfig
from trainer.prior import PriorConfig
from trainer.training.losses import LossConfig
from trainer.training.worker_range import WorkerRange

BestBy = Literal["mpjpe_mm", "kp2d_error_px", "pa_mpjpe_mm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartConfig:
    """Which network, and where its weights start.

    head: `skel` for HSMR, `smpl` for HMR2.0, which learns the SMPL pseudo-labels of the shards.
    camera, refine_layers, uncertainty: options of the network, see `trainer.network.variants.NetworkConfig`.
    init: `auto` = the best checkpoint trained on the previous generation, else none; `none`; or the URI of a checkpoint
    (ours, or a released HSMR .ckpt). backbone: URI of a file for the backbone alone, ViTPose's or the keypoint net's,
    used without an init. freeze_backbone: train the head alone, and of the keypoint net what makes the tokens.
    drop_path: stochastic depth of a ViT in training, the rate of its last block (`trainer.network.drop_path`).
    """

    variant: str = "h"
    head: NetworkHead = "skel"
    camera: NetworkCamera = "crop"
    refine_layers: bool = False
    uncertainty: NetworkUncertainty = "none"
    init: str = "auto"
    backbone: str | None = None
    freeze_backbone: bool = False
    drop_path: float = 0.0
    activation_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        plain = (self.camera, self.refine_layers, self.uncertainty) == ("crop", False, "none")
        if self.head == "smpl" and not plain:
            raise ValueError(f"network.head=smpl: HMR2.0 has no such options as {self.network().options}.")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"network.drop_path={self.drop_path}: at least 0 and below 1 expected.")
        if self.drop_path and not isinstance(self.network().backbone, VitConfig):
            raise ValueError(f"network.drop_path={self.drop_path}: variant {self.variant} has no blocks to skip.")

    def network(self) -> NetworkConfig:
        """Raises ValueError, listing the variants, for an unknown one."""
        return replace(
            variant(self.variant), camera=self.camera, refine_layers=self.refine_layers, uncertainty=self.uncertainty
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW as HSMR trains it; warm_up_steps raise the rate linearly, decay=cosine lets it fall to 0 over the planned
    steps, ema_decay > 0 evaluates averaged weights. resume: go on with the AdamW state of the Lightning checkpoint that
    network.init names.
    """

    learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    warm_up_steps: int = 0
    decay: Literal["none", "cosine"] = "none"
    gradient_clip: float = 0.0  # largest norm of the gradient; 0 = not clipped
    ema_decay: float = 0.0  # 0 = no averaging
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the forward pass; losses are always float32
    resume: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"optimizer.learning_rate={self.learning_rate}: a positive number expected.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"optimizer.ema_decay={self.ema_decay}: at least 0 and below 1 expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """How long, in steps (global batches) and epochs; the first bound that is met ends the run.

    patience: validations in a row without a better `best_by` after which training stops early; 0 = never.
    """

    epochs: int = 100
    max_steps: int = 100_000
    validate_every: int = 1000
    patience: int = 5
    best_by: BestBy = "mpjpe_mm"

    def __post_init__(self) -> None:
        for name in ("epochs", "max_steps", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"schedule.{name}={getattr(self, name)}: at least 1 expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRunConfig:
    """How the work is placed; nothing here can change the weights beyond rounding.

    workers: 0 = one per GPU, or one on CPUs; N; MIN..MAX = as many as there is room for, which may change on the way.
    At most one per lane. save_every: steps between saved states, which a restart continues from. attempts: how often
    lost workers are replaced. accumulate: micro-batches that a worker's share of a global batch is computed in, one
    after the other: the same step in less memory. report: write an HTML report beside the run's files when it is done.
    """

    workers: str = "0"
    device: Device = "auto"
    accumulate: int = 1
    save_every: int = 500
    attempts: int = 3
    progress: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        self.worker_range()
        for name in ("save_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name}={getattr(self, name)}: at least 1 expected.")

    def worker_range(self) -> WorkerRange:
        """Raises ValueError for `workers` that cannot be read."""
        return WorkerRange.read(self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a training run is told."""

    storage: StorageConfig = field(default_factory=StorageConfig)
    body: BodyConfig = field(default_factory=BodyConfig)
    data: TrainDataConfig = field(default_factory=TrainDataConfig)
    network: StartConfig = field(default_factory=StartConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: TrainRunConfig = field(default_factory=TrainRunConfig)

    def __post_init__(self) -> None:
        if self.network.head == "smpl" and self.loss.limits:
            raise ValueError(f"loss.limits={self.loss.limits}: SMPL has no joint limits. Leave it out.")
        if self.optimizer.resume and self.network.init in ("auto", "none"):
            raise ValueError("optimizer.resume=true goes on with the state in a file: name it, network.init=FILE.ckpt.")
        if self.run.worker_range().most > self.data.lanes:
            raise ValueError(
                f"run.workers={self.run.workers} with data.lanes={self.data.lanes}: a worker reads one lane or more. "
                "Ask for fewer workers, or more lanes."
            )


# The generation, the body and the initial weights enter a run's identity by their digests, not by how they were named.
RESULT_RELEVANT = ("data", "network", "loss", "prior", "optimizer", "schedule")
_LATER: Final[Mapping[str, Mapping[str, object]]] = {
    "data": {"fewest_keypoints": 0, "pseudo_labels": asdict(TrainDataConfig().pseudo_labels)},
    "network": {"uncertainty": "none", "freeze_backbone": False, "drop_path": 0.0, "head": "skel"},
    "loss": {"unlabelled_betas": 0.0},
    "optimizer": {"decay": "none", "resume": False},
}
"""Settings that there were not always, and where they change nothing: what was trained before is found again."""


def config_digest(config: TrainConfig) -> str:
    """SHA-256 (hex) of the settings that can change the weights."""
    relevant: dict[str, dict[str, Any]] = {name: asdict(getattr(config, name)) for name in RESULT_RELEVANT}
    for part, settings in _LATER.items():
        for name, without in settings.items():
            if relevant[part][name] == without:
                del relevant[part][name]
    if config.data.folds == 1:
        del relevant["data"]["folds"], relevant["data"]["fold"]
    del relevant["network"]["init"], relevant["network"]["backbone"]
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def each_fold(config: TrainConfig, folds: int) -> list[TrainConfig]:
    """What cross-fitting trains: a network without each of the folds. One fold: what `config` says, be it of one fold.

    Raises ConfigError for several folds of what already says its own.
    """
    if folds == 1:
        return [config]
    if config.data.folds > 1:
        raise ConfigError(f"data.folds={config.data.folds} trains one fold: leave it out to train each of {folds}.")
    return [replace(config, data=replace(config.data, folds=folds, fold=fold)) for fold in range(folds)]


def derive_training_id(
    *, round: int, snapshot_id: int, body_digest: str, config_digest: str, init_digest: str | None
) -> str:
    """First 12 hex digits of a digest of all that decides the weights: a restart finds its own saved state."""
    content = [round, snapshot_id, body_digest, config_digest, init_digest]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
