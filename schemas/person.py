"""A person in a photo, as read from a shard, and what is recorded when one cannot be read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from schemas.camera import Lens
from schemas.gender import Gender
from schemas.input_shard import ShardId

MIN_FPS, MAX_FPS = 1.0, 1000.0
"""Frame rates that a video may have; what lies outside was never meant as one."""


class PersonId(NamedTuple):
    """Identity of a label, for ever: `person` is the position in the original data.pyd list, never renumbered."""

    dataset: str
    shard: str
    key: str
    person: int

    @property
    def shard_id(self) -> ShardId:
        return ShardId(self.dataset, self.shard)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmplLabel:
    """SMPL pseudo-label: `pose` (24, 3) axis-angle rad (root first, in camera axes), `betas` (10,), zero where it says
    nothing of the shape (not has_betas). fitting_loss: what the fit that made it left, as the shard says it.
    """

    pose: Float32[np.ndarray, "24 3"]
    betas: Float32[np.ndarray, "10"]
    has_betas: bool = True
    fitting_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One readable person. Keypoints are in px of the photo; confidence is 0 where one is absent or not finite.

    keypoints_2d (44, 3) x px, y px, confidence; keypoints_3d (44, 4) m and confidence, camera axes, relative to mid
    hip, or all zero; center (2,) px and side px of the square person crop (docs/camera_and_crop.md).
    track: (track_id, frame) for video, from extra_info, else None; fps: frames a second, where extra_info has it.
    lens: the pinhole of the photo; None: HSMR's camera, which looks straight at the crop. photo_group: equal for photos
    that show the same (pipeline.shards.photo_group); None where nobody asked. gender: as the data say it, or as it was
    chosen since; None: not known.
    """

    id: PersonId
    keypoints_2d: Float32[np.ndarray, "44 3"]
    keypoints_3d: Float32[np.ndarray, "44 4"]
    center: Float32[np.ndarray, "2"]
    side: float
    smpl: SmplLabel | None
    track: tuple[str, int] | None = None
    fps: float | None = None
    lens: Lens | None = None
    photo_group: int | None = None
    gender: Gender | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One sample of a shard: the JPEG bytes (checked to decode, unless `read_shard` was told not to), its size in px,
    its readable people (maybe none).
    """

    key: str
    jpeg: bytes
    width: int
    height: int
    people: tuple[Person, ...]


class RejectionReason(StrEnum):
    """Why a shard, a photo, a person or a part of a person was refused."""

    SHARD_UNREADABLE = "shard_unreadable"
    SHARD_TRUNCATED = "shard_truncated"
    SHARD_EMPTY = "shard_empty"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_LABELS = "missing_labels"
    MISSING_PHOTO = "missing_photo"
    UNDECODABLE_PHOTO = "undecodable_photo"
    FORBIDDEN_PICKLE = "forbidden_pickle"
    MALFORMED_LABELS = "malformed_labels"
    WRONG_SHAPE = "wrong_shape"
    BAD_BOX = "bad_box"
    TOO_LARGE = "too_large"
    UNSAFE_NAME = "unsafe_name"
    PREDICTION_UNUSABLE = "prediction_unusable"
    KEYPOINTS_NOT_FINITE = "keypoints_not_finite"
    SMPL_NOT_FINITE = "smpl_not_finite"
    BAD_FRAME_RATE = "bad_frame_rate"
    BAD_CAMERA = "bad_camera"
    BAD_GENDER = "bad_gender"
    DUPLICATE_FRAME = "duplicate_frame"
    IMPORT_UNDECIDED = "import_undecided"


REPAIRS = frozenset(
    {
        RejectionReason.KEYPOINTS_NOT_FINITE,
        RejectionReason.SMPL_NOT_FINITE,
        RejectionReason.BAD_FRAME_RATE,
        RejectionReason.BAD_CAMERA,
        RejectionReason.BAD_GENDER,
        RejectionReason.DUPLICATE_FRAME,
        RejectionReason.IMPORT_UNDECIDED,
    }
)
"""Reasons that only remove a part of a person (the points' confidence, the SMPL label, the place in a track, the
camera, the gender, the label to be imported); the person itself is kept.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A recorded refusal. key and person are None when the whole shard or the whole photo is refused."""

    dataset: str
    shard: str
    key: str | None
    person: int | None
    reason: RejectionReason
    detail: str

    @property
    def shard_id(self) -> ShardId:
        return ShardId(self.dataset, self.shard)
