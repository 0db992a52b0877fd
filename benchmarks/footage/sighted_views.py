"""The footage as single views: each person crop under the camera that a method is told."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.footage.measured import POINTS, Footage
from pipeline.image.camera import FOCAL
from pipeline.image.person_camera import person_camera, photo_to_crop
from schemas.camera import CameraSource, Lens
from schemas.keypoints import MIN_CONFIDENCE, MIN_CONFIDENT_BODY_POINTS, N_KEYPOINTS

Told = Literal["true", "exif +20 %", "exif -20 %", "auto", "hsmr"]
"""The true lens; its focal length 20 % too long or short, the principal point in the middle, no distortion, as from a
photo's EXIF; nothing, so that camera=auto takes the most usual lens for the photo's size; or HSMR's constant.
"""

_MARGIN = 1.2  # of the box of the confident points: the side of the crop


@dataclass(frozen=True)
class SightedViews:
    """N crops: view and frame (N,) of each; keypoints (N, 44, 3) crop units and confidence under the camera told, its
    focal length (N,) in crop units; rotation (N, 3, 3), translation (N, 3) m: world to the crop camera told; points_3d
    (N, 25, 3) m: the truth in those axes.
    """

    view: np.ndarray
    frame: np.ndarray
    keypoints: Tensor
    focal: Tensor
    rotation: np.ndarray
    translation: np.ndarray
    points_3d: np.ndarray


def sighted_views(footage: Footage, told: Told, longer: np.ndarray | None = None) -> SightedViews:
    """Everything that shows enough. longer (V,): factors on the focal lengths told."""
    factors = np.ones(footage.views) if longer is None else longer
    rows = [
        _sighted(footage, view, frame, told, float(factors[view]))
        for view in range(footage.views)
        for frame in usable_frames(footage, view)
    ]
    view, frame, keypoints, focal, rotation, translation, points_3d = (np.stack(x) for x in zip(*rows, strict=True))
    return SightedViews(
        view, frame, torch.as_tensor(keypoints), torch.as_tensor(focal), rotation, translation, points_3d
    )


def usable_frames(footage: Footage, view: int) -> list[int]:
    """Those that show at least five confident points."""
    confident = (footage.points_2d[view, :, :, 2] >= MIN_CONFIDENCE).sum(1)
    return np.flatnonzero(confident >= MIN_CONFIDENT_BODY_POINTS).tolist()


def person_box(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and side of the crop, px, around the confident ones of the points (25, 3)."""
    seen = points[:, 2] >= MIN_CONFIDENCE
    low, high = points[seen, :2].min(0), points[seen, :2].max(0)
    return (low + high) / 2, _MARGIN * float((high - low).max())


def _sighted(footage: Footage, view: int, frame: int, told: Told, longer: float) -> tuple[np.ndarray, ...]:
    points = footage.points_2d[view, frame]
    seen, (center, side) = points[:, 2] >= MIN_CONFIDENCE, person_box(points)
    keypoints = np.zeros((N_KEYPOINTS, 3))
    keypoints[:POINTS, 2] = np.where(seen, points[:, 2], 0.0)
    if told == "hsmr":
        keypoints[:POINTS, :2] = (points[:, :2] - center) / side
        focal, turn = FOCAL, np.eye(3)
    else:
        lens = told_lens(footage, view, told)
        lens = replace(lens, focal_px=longer * lens.focal_px)
        camera = person_camera(lens, center, side)
        keypoints[:POINTS, :2] = photo_to_crop(points[:, :2], lens, camera)
        focal, turn = camera.focal, camera.rotation.T
    rotation, translation = turn @ footage.rotation[view], turn @ footage.translation[view]
    truth = footage.points_3d[frame] @ rotation.T + translation
    return (
        np.array(view), np.array(frame), np.nan_to_num(keypoints), np.array(focal), rotation, translation, truth,
    )  # fmt: skip


def told_lens(footage: Footage, view: int, told: Told) -> Lens:
    """What a method knows of the lens. The file has no photo size: the views' mean principal point is the middle."""
    true = footage.lenses[view]
    if told == "true":
        return true
    middle = np.mean([lens.principal_point for lens in footage.lenses], axis=0)
    focal = {"exif +20 %": 1.2 * true.focal_px, "exif -20 %": 0.8 * true.focal_px}.get(told, usual_focal_px(2 * middle))
    source = CameraSource.PRIOR if told == "auto" else CameraSource.EXIF
    return replace(true, focal_px=focal, principal_point=middle, distortion=np.zeros(4), source=source)


def usual_focal_px(size: np.ndarray) -> float:
    """The photo's diagonal, px: a 43 mm lens, the normal lens of the 35 mm format, as CLIFF (ECCV 2022) assumes."""
    return float(np.hypot(*size))
