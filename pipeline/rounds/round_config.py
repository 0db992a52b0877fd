"""Everything a round can be told, as one typed tree, and the digest of what can change a label."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from pipeline.fit import SkelifyConfig, SmplToSkelConfig
from pipeline.fit.video.track import TrackConfig
from pipeline.labelling.acceptance import AcceptConfig
from pipeline.labels import AuditConfig
from pipeline.lenses.known_lens import CameraMode
from pipeline.runtime.config import BodyConfig, DataConfig, Device, StorageConfig
from pipeline.shards.pseudo_labels import PseudoLabelConfig
from schemas.labels import LABEL_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How labels are computed. `auto` takes a GPU where the cluster has one; `batch_size` is in people.

    temporal: people with a track_id and a frame are fitted as whole tracks from round 1 on.
    dtype: in float32 the rounding of another batch size moved q by up to 5e-3 rad; in float64 by nothing, at 1.3 times
    the time (48 people, 2 cores).
    """

    device: Device = "auto"
    dtype: Literal["float32", "float64"] = "float64"
    batch_size: int = 512
    temporal: bool = False
    skelify: SkelifyConfig = field(default_factory=SkelifyConfig)
    convert: SmplToSkelConfig = field(default_factory=SmplToSkelConfig)
    track: TrackConfig = field(default_factory=TrackConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"fit.batch_size={self.batch_size}: at least 1 person expected.")
        if self.temporal and self.skelify.objective != "robust":
            raise ValueError("fit.temporal=true needs fit.skelify.objective=robust: the published one knows no video.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictConfig:
    """The network whose predictions start the fits: `auto`, `none`, or the URI of a checkpoint.

    cross_fit: with K > 1, K networks, each trained without a part of the people, which it predicts.
    """

    checkpoint: str = "auto"
    cross_fit: int = 1

    def __post_init__(self) -> None:
        if self.cross_fit < 1:
            raise ValueError(f"predict.cross_fit={self.cross_fit}: 1 (one network for everyone) or more expected.")
        if self.cross_fit > 1 and self.checkpoint != "auto":
            raise ValueError(
                f"predict.cross_fit={self.cross_fit} takes the networks on record: leave predict.checkpoint out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How the work is placed; nothing here can change a label.

    actors: 0 = one per CPU (per GPU with fit.device=cuda). attempts: a shard that fails or kills its actor so often
    is quarantined. progress: a bar on stderr. report: write an HTML report beside the generation (docs/report.md).
    """

    actors: int = 0
    attempts: int = 3
    progress: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        if self.actors < 0:
            raise ValueError(f"run.actors={self.actors}: 0 (one per CPU or GPU) or a positive number expected.")
        if self.attempts < 1:
            raise ValueError(f"run.attempts={self.attempts}: at least 1 expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDataConfig(DataConfig):
    """The input shards, and which of their SMPL pseudo-labels are believed."""

    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundConfig:
    """Everything a round is told. camera: `auto` is what is known of each person's camera, else an estimate; `hsmr` the
    constant of HSMR's training for everyone.
    """

    data: RoundDataConfig = field(default_factory=RoundDataConfig)
    camera: CameraMode = "auto"
    storage: StorageConfig = field(default_factory=StorageConfig)
    body: BodyConfig = field(default_factory=BodyConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    accept: AcceptConfig = field(default_factory=AcceptConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    run: RunConfig = field(default_factory=RunConfig)


# The inputs, the body's content and the checkpoint enter a run's identity by their digests, not by how they were named.
RESULT_RELEVANT = ("fit", "accept")


def config_digest(config: RoundConfig, calibration_digest: str = "") -> str:
    """SHA-256 (hex) of the settings that can change a label file; the device must be resolved, not `auto`."""
    relevant: dict[str, object] = {name: asdict(getattr(config, name)) for name in RESULT_RELEVANT}
    if config.data.pseudo_labels != PseudoLabelConfig():  # else as before one could doubt them
        relevant["pseudo_labels"] = asdict(config.data.pseudo_labels)
    relevant["gender"] = config.body.gender
    relevant["camera"] = [config.camera, calibration_digest]
    relevant["schema"] = LABEL_SCHEMA.to_string()  # files staged by code with other columns cannot be taken over
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
