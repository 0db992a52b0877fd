"""Residuals of detections to the body that agrees with all views, and the offsets in the body's frame behind them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from benchmarks.footage.all_views import AllViews
from pipeline.body import Skel
from pipeline.image.keypoint_noise import trunk_frame
from schemas.keypoints import FLIP_PERMUTATION, MIN_CONFIDENCE

POINTS: Final = 25
GROSS: Final = 0.06  # crop units: no measurement of this point, but of another one or of another person
MIRROR: Final = np.array([-1.0, 1.0, 1.0])
"""Of an offset in the trunk's frame, for the other side of the body."""


@dataclass(frozen=True)
class Residuals:
    """N detections: which keypoint, view and moment (N,); away (N, 2) crop units; confidence (N,); slope (N, 2, 3):
    by which an offset of the keypoint, m in the trunk's frame, moves it; to_twin (N,): distance to the same point of
    the body's other side, crop units.
    """

    keypoint: np.ndarray
    view: np.ndarray
    moment: np.ndarray
    away: np.ndarray
    confidence: np.ndarray
    slope: np.ndarray
    to_twin: np.ndarray

    @property
    def distance(self) -> np.ndarray:
        """Of each detection, crop units."""
        return np.linalg.norm(self.away, axis=1)

    def rows(self, chosen: np.ndarray) -> "Residuals":
        """Some of them."""
        return Residuals(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def residuals(skel: Skel, together: AllViews) -> Residuals:
    """Of every detection with at least the least confidence."""
    views, found = together
    points = skel.keypoints(found.q, found.betas) + found.trans[:, None]
    in_camera = torch.einsum("mvij,mkj->mvki", views.rotation, points) + views.translation[:, :, None]
    projected = views.focal[..., None, None] * in_camera[..., :2] / in_camera[..., 2:]
    seen = views.keypoints[..., :POINTS, :2]
    slope = _slope(in_camera, views.focal) @ (views.rotation @ trunk_frame(points)[:, None])[:, :, None]
    twins = projected[:, :, list(FLIP_PERMUTATION[:POINTS])]
    moment, view, keypoint = np.nonzero((views.keypoints[..., :POINTS, 2] >= MIN_CONFIDENCE).numpy())
    at = moment, view, keypoint
    return Residuals(
        keypoint, view, moment,
        (seen - projected[:, :, :POINTS]).numpy()[at],
        views.keypoints[..., :POINTS, 2].numpy()[at],
        slope.numpy()[at],
        (seen - twins).norm(dim=-1).numpy()[at],
    )  # fmt: skip


def offset(of: Residuals, mirrored: np.ndarray) -> np.ndarray:
    """(3,) m: the one offset, mirrored where told (N,), that explains most of the residuals (least squares)."""
    slope = of.slope * np.where(mirrored[:, None, None], MIRROR, 1.0)
    return np.linalg.lstsq(slope.reshape(-1, 3), of.away.reshape(-1), rcond=None)[0]


def explained(of: Residuals, offsets: np.ndarray) -> np.ndarray:
    """(N, 2) crop units: what offsets (N, 3) m of the points would make of the residuals."""
    return np.einsum("nij,nj->ni", of.slope, offsets)


def _slope(in_camera: Tensor, focal: Tensor) -> Tensor:
    """d place / d point in camera axes, (T, V, 44, 2, 3)."""
    depth, slope = in_camera[..., 2], in_camera.new_zeros(*in_camera.shape[:-1], 2, 3)
    slope[..., 0, 0] = slope[..., 1, 1] = focal[..., None] / depth
    slope[..., 2] = -focal[..., None, None] * in_camera[..., :2] / depth[..., None] ** 2
    return slope
