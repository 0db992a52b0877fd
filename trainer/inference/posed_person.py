"""What is known of one person's body, and the camera that it holds for."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32

from schemas.camera import CameraSource
from schemas.gender import Gender
from schemas.person import Photo


class PosedPerson(NamedTuple):
    """q (46,) rad, betas (10,), cam_t (3,) m in the camera of the person's crop: its focal length, crop units, the
    rotation vector (3,) rad from its axes to the photo camera's, and where both are known from. q_std (46,) rad: how
    far q may be off, 0 where nothing tells. gender: of the SKEL body that both are of.
    """

    q: Float32[np.ndarray, "46"]
    betas: Float32[np.ndarray, "10"]
    cam_t: Float32[np.ndarray, "3"]
    focal: float
    turn: Float32[np.ndarray, "3"]
    source: CameraSource
    q_std: Float32[np.ndarray, "46"]
    gender: Gender


class PosedSmpl(NamedTuple):
    """pose (72,) rad, betas (10,), cam_t (3,) m, and the camera that they hold for, as of `PosedPerson`."""

    pose: Float32[np.ndarray, "72"]
    betas: Float32[np.ndarray, "10"]
    cam_t: Float32[np.ndarray, "3"]
    focal: float
    turn: Float32[np.ndarray, "3"]
    source: CameraSource


class PosesOfPhotos(Protocol):
    """Where poses come from: `predictor.NetworkPredictor`, `two_stage.TwoStagePredictor`, `label_poses.LabelPoses`, and
    of SMPL `smpl_predictor.SmplPredictor`: one kind of body for all."""

    def pose(self, photos: Sequence[Photo]) -> Sequence[PosedPerson | PosedSmpl | None]:
        """One per person, the people of the first photo in their order, then those of the next; None: unknown."""
        ...
