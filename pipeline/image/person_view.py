"""A person as their own camera sees them: what fits, acceptance and training look at (docs/camera_and_crop.md)."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from pipeline.image.camera import FOCAL
from pipeline.image.crop import to_crop_units
from pipeline.image.person_camera import PersonCamera, person_camera, photo_to_crop
from schemas.camera import CameraSource
from schemas.person import Person, SmplLabel


class PersonView(NamedTuple):
    """keypoints (44, 3) crop units and confidence; keypoints_3d (44, 4) m and confidence; the SMPL label; all in the
    axes of the crop camera. focal: crop units; turn (3,): rotation vector, crop camera axes to photo camera axes, rad.
    """

    keypoints: Float32[np.ndarray, "44 3"]
    keypoints_3d: Float32[np.ndarray, "44 4"]
    smpl: SmplLabel | None
    focal: float
    turn: Float32[np.ndarray, "3"]
    source: CameraSource


def camera_of(person: Person) -> PersonCamera:
    """By the person's lens; HSMR's without one."""
    if person.lens is None:
        return PersonCamera(FOCAL, np.eye(3))
    return person_camera(person.lens, person.center, person.side)


def source_of(person: Person) -> CameraSource:
    """Where that camera is known from."""
    return CameraSource.HSMR if person.lens is None else person.lens.source


def person_view(person: Person) -> PersonView:
    """By the person's lens, or by HSMR's camera without one.

    Who measured a calibrated camera measured the body in its axes; pseudo-labels and detectors look at the crop. So the
    SMPL label and the 3D keypoints are turned into the crop camera under a calibrated lens, and taken as they are else.
    """
    if person.lens is None:
        crop = to_crop_units(person.keypoints_2d, person.center, person.side)
        return PersonView(crop, person.keypoints_3d, person.smpl, FOCAL, np.zeros(3, np.float32), CameraSource.HSMR)
    camera = camera_of(person)
    keypoints, points_3d, smpl = person.keypoints_2d.copy(), person.keypoints_3d, person.smpl
    keypoints[:, :2] = photo_to_crop(person.keypoints_2d[:, :2], person.lens, camera)
    if person.lens.source is CameraSource.CALIBRATION:
        into_crop = camera.rotation.T
        points_3d, smpl = turned_points(points_3d, into_crop), None if smpl is None else turned_smpl(smpl, into_crop)
    return PersonView(keypoints, points_3d, smpl, camera.focal, camera.turn, person.lens.source)


def turned_points(points: Float[np.ndarray, "44 4"], rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "44 4"]:
    """3D keypoints (44, 4), m and confidence, in the axes that the rotation leads to; in the type of the points."""
    turned = points.copy()
    turned[:, :3] = points[:, :3] @ rotation.T
    return turned


def turned_smpl(smpl: SmplLabel, rotation: Float[np.ndarray, "3 3"]) -> SmplLabel:
    """The label of the same body in the axes that the rotation leads to."""
    pose = smpl.pose.copy()
    pose[0] = (Rotation.from_matrix(rotation) * Rotation.from_rotvec(smpl.pose[0].astype(np.float64))).as_rotvec()
    return replace(smpl, pose=pose)
