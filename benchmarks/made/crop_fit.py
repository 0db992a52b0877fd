"""Cameras of HSMR's focal length under which made-up people fill their crops as boxed people do."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pipeline.demo_set.placement import BOX_MARGIN
from pipeline.image.camera import FOCAL

Array = NDArray[np.float64]


def fit_crop_cameras(rng: np.random.Generator, vertices: Float[np.ndarray, "N V 3"]) -> Float[np.ndarray, "N 3"]:
    """cam_t (N, 3) m for posed people (N, V, 3) m: the crop is 1.1 times the tight box, give or take boxers' errors."""
    count = len(vertices)
    fill = 1.0 / (BOX_MARGIN * np.exp(rng.normal(0.0, 0.04, count)))
    offset = rng.normal(0.0, 0.015, (count, 2))
    cam_t = np.zeros((count, 3))
    cam_t[:, 2] = FOCAL * np.ptp(vertices[..., :2], axis=1).max(axis=1) / fill
    for _ in range(6):  # a fixed-point iteration; perspective at 30 m leaves little to correct
        low, high = _box(vertices, cam_t)
        cam_t[:, :2] += (offset - (low + high) / 2) * cam_t[:, 2:] / FOCAL
        cam_t[:, 2] *= (high - low).max(axis=1) / fill
    return cam_t


def _box(vertices: Array, cam_t: Array) -> tuple[Array, Array]:
    moved = vertices + cam_t[:, None]
    points = FOCAL * moved[..., :2] / moved[..., 2:]
    return points.min(axis=1), points.max(axis=1)
