"""What an inference run is told: what to read and write (options), and how (overrides)."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.export.coordinate_order import AngleOrder
from pipeline.export.mesh_files import MeshFormat
from pipeline.fit import SkelifyConfig
from pipeline.labelling.acceptance import AcceptConfig
from pipeline.lenses.known_lens import CameraMode
from pipeline.runtime.config import BodyConfig, Device, StorageConfig

DEFAULT_FPS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """The settings that overrides change. camera: `auto` is what a shard or EXIF says of each photo's lens, else an
    estimate; `hsmr` the constant of HSMR's training for everyone. storage: where the generation of `labels` lives;
    skelify, accept: how predictions are refined; batch_size: people a call of the network, and so many photos in
    memory.
    """

    camera: CameraMode = "auto"
    body: BodyConfig = field(default_factory=BodyConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    skelify: SkelifyConfig = field(default_factory=SkelifyConfig)
    accept: AcceptConfig = field(default_factory=AcceptConfig)
    device: Device = "auto"
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: at least 1 person expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """What to predict and which files to write.

    images: a folder of images or of shards, or a pattern of shards; boxes: person boxes of a folder of images, else
    each image is one person. checkpoint or labels (a round): where poses come from; convert: the SMPL predictions of an
    HMR2.0 network to SKEL. fps: frames a second of videos; for
    a folder of images, that they are one.
    """

    images: str
    output: Path
    checkpoint: str | None = None
    labels: int | None = None
    dataset: str | None = None
    boxes: Path | None = None
    fps: float | None = None
    convert: bool = False
    refine: bool = False
    overlays: bool = False
    hide_photos: bool = False
    meshes: MeshFormat | None = None
    skeleton: bool = False
    mot: bool = False
    angles: AngleOrder = "skel"
