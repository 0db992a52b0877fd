"""Where predicted bodies are: in the camera of their crops, and in one of the whole photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy.spatial.transform import Rotation

from pipeline.body import Skel
from pipeline.export.photo_camera import (
    PhotoCamera,
    into_photo_camera,
    lens_camera,
    photo_camera,
    turned_translation,
)
from pipeline.image.person_camera import PersonCamera
from pipeline.labelling.rows_by_gender import by_gender
from schemas.camera import CameraSource
from schemas.gender import Gender
from trainer.inference.predicted_people import PosedPeople, PredictedPeople, as_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBodies:
    """Where N bodies are: pelvis (N, 3), joint 0 without translation; photo_cam_t (N, 3), the translation in the camera
    of the whole photo; m, camera axes.

    cameras: that of the whole photo for each body; turn (N, 3, 3): about the pelvis, from the axes in which q holds to
    those of the photo's camera, the identity for a body in HSMR's.
    """

    pelvis: Float[np.ndarray, "N 3"]
    photo_cam_t: Float[np.ndarray, "N 3"]
    cameras: Sequence[PhotoCamera]
    turn: Float[np.ndarray, "N 3 3"]

    def in_photo(self, points: Float[np.ndarray, "K 3"], row: int) -> Float[np.ndarray, "K 3"]:
        """Points (K, 3) m of a body without translation, relative to its pelvis in the axes of the photo's camera."""
        return (points - self.pelvis[row]) @ self.turn[row].T


def place_bodies(batch: PredictedPeople, skels: Mapping[Gender, Skel]) -> PlacedBodies:
    """The pelvis of each SKEL body and its place in the camera of the whole photo; skels: by the gender of people."""

    def pelvis(gender: Gender, rows: Int64[np.ndarray, "M"]) -> Float64[np.ndarray, "M 3"]:
        skel = skels[gender]
        with torch.inference_mode():
            return skel.joints(*as_tensors(skel, batch.q[rows], batch.betas[rows]))[:, 0].double().cpu().numpy()

    return placed(batch, by_gender(batch.genders, pelvis))


def placed(batch: PosedPeople, pelvis: Float[np.ndarray, "N 3"]) -> PlacedBodies:
    """The same of any body whose pelvis, joint 0 without translation, is at (N, 3) m in its crop's axes."""
    center = np.stack([person.center for person in batch.people])
    side = np.array([person.side for person in batch.people])
    size = np.array([(photo.width, photo.height) for photo in batch.photos])
    own = np.array([source is not CameraSource.HSMR for source in batch.camera_source])
    turn = np.tile(np.eye(3), (len(batch), 1, 1))
    turn[own] = Rotation.from_rotvec(batch.camera_turn[own].astype(np.float64)).as_matrix()
    photo_cam_t = into_photo_camera(batch.cam_t, pelvis, center, side, size)
    photo_cam_t[own] = turned_translation(batch.cam_t[own], pelvis[own], turn[own])
    cameras = [
        lens_camera(PersonCamera(batch.focal[row], turn[row]), center[row], side[row])
        if own[row]
        else photo_camera(*size[row])
        for row in range(len(batch))
    ]
    return PlacedBodies(pelvis=pelvis, photo_cam_t=photo_cam_t, cameras=cameras, turn=turn)
