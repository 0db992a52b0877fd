"""Crop cameras under which made-up people fill their crops as boxed people do."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pipeline.image.camera import FOCAL

Array = NDArray[np.float64]

BOX_MARGIN: Final = 1.1
"""A person box is this many times the tight box around the person (data/README.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropFit:
    """cam_t (N, 3) m; fill (N,): tight box's longer side in crop units; aspect (N, 2): its sides over the longer."""

    cam_t: Float[np.ndarray, "N 3"]
    fill: Float[np.ndarray, "N"]
    aspect: Float[np.ndarray, "N 2"]


def fit_crop_cameras(rng: np.random.Generator, vertices: Float[np.ndarray, "N V 3"]) -> CropFit:
    """Cameras for posed people (N, V, 3) m: the crop is 1.1 times the tight box, give or take what boxers err."""
    count = len(vertices)
    fill = 1.0 / (BOX_MARGIN * np.exp(rng.normal(0.0, 0.04, count)))
    offset = rng.normal(0.0, 0.015, (count, 2))
    cam_t = np.zeros((count, 3))
    cam_t[:, 2] = FOCAL * np.ptp(vertices[..., :2], axis=1).max(axis=1) / fill
    for _ in range(6):  # a fixed-point iteration; perspective at 30 m leaves little to correct
        low, high = _box(vertices, cam_t)
        cam_t[:, :2] += (offset - (low + high) / 2) * cam_t[:, 2:] / FOCAL
        cam_t[:, 2] *= (high - low).max(axis=1) / fill
    low, high = _box(vertices, cam_t)
    size = high - low
    return CropFit(cam_t=cam_t, fill=size.max(axis=1), aspect=size / size.max(axis=1, keepdims=True))


def project_to_crop(points: Float[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any 2"]:
    """(..., 3) m in the crop camera (with cam_t) to (..., 2) crop units."""
    return FOCAL * points[..., :2] / points[..., 2:]


def _box(vertices: Array, cam_t: Array) -> tuple[Array, Array]:
    points = project_to_crop(vertices + cam_t[:, None])
    return points.min(axis=1), points.max(axis=1)
