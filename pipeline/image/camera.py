"""The crop camera: a pinhole, and the one procedure that solves it for a label.

A person whose photo's lens is known has a focal length of their own, in crop units (focal_px / side of the crop);
without one it is FOCAL.

Camera axes: x right, y down, z forward, m. Image points in crop units (see `pipeline.image.crop`).
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_error import usable_confidence, usable_places
from pipeline.numerics.levenberg_marquardt import Linearised, LmConfig, minimise

FOCAL: Final = 5000 / CROP_PX
"""Focal length in crop units: 5000 px of the 256 px crop, as HMR 2.0 and HSMR have it
(docs/camera_and_crop.md).
"""

MIN_DEPTH: Final = 0.1
"""m; a point nearer to the camera's plane, or behind it, is projected from here and does not flip through it."""

_SMOOTHING = 1e-3  # crop units (0.26 px): rounds the tip of the distance so that Newton steps converge
_SOLVER = LmConfig(max_iterations=60, relative_tolerance=1e-12, step_tolerance=1e-9)


def focal_of(focal: Float[Tensor, "B"] | None, like: Float[Tensor, "B ..."]) -> Float[Tensor, "B"]:
    """The focal lengths of B people, crop units, as `like`: FOCAL for everyone when not given."""
    return like.new_full((len(like),), FOCAL) if focal is None else focal.to(like)


def at_focal(cam_t: Float[Tensor, "B 3"], old: Float[Tensor, "B"], new: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
    """cam_t that gives a person the same size in the image under another focal length, crop units."""
    return torch.cat([cam_t[:, :2], cam_t[:, 2:] * (new / old)[:, None]], 1)


def project(
    points: Float[Tensor, "B K 3"], cam_t: Float[Tensor, "B 3"], focal: Float[Tensor, "B"] | None = None
) -> Float[Tensor, "B K 2"]:
    """kp2d = focal (X + cam_t)_xy / (X + cam_t)_z in crop units."""
    moved = points + cam_t[:, None]
    return focal_of(focal, moved)[:, None, None] * moved[..., :2] / moved[..., 2:].clamp_min(MIN_DEPTH)


def projection_jacobian(
    points: Float[Tensor, "B K 3"], cam_t: Float[Tensor, "B 3"], focal: Float[Tensor, "B"] | None = None
) -> Float[Tensor, "B K 2 3"]:
    """Derivative of `project` in the point, which is also its derivative in cam_t."""
    moved = points + cam_t[:, None]
    depth = moved[..., 2:].clamp_min(MIN_DEPTH)
    scale = focal_of(focal, moved)[:, None, None] * depth.reciprocal()
    zero = torch.zeros_like(scale[..., 0])
    u, v = (-moved[..., :2] * scale / depth).unbind(-1)
    return torch.stack([torch.stack([scale[..., 0], zero, u], -1), torch.stack([zero, scale[..., 0], v], -1)], -2)


def solve_camera(
    points: Float[Tensor, "B K 3"], keypoints: Float[Tensor, "B K 3"], focal: Float[Tensor, "B"] | None = None
) -> Float[Tensor, "B 3"]:
    """cam_t (B, 3) m minimising sum_k c_k |project(X_k) - keypoint_k|, the measure labels are judged by.

    The distances are smoothed over 1e-3 crop units. Started from the weighted linear fit of a weak-perspective camera,
    so the answer depends on nothing but the points: parent and candidate are judged alike.
    """
    confidence = usable_confidence(keypoints)
    target = usable_places(keypoints)
    focal = focal_of(focal, points)
    start = _weak_perspective(points, target, confidence, focal)

    def evaluate(x: Tensor, people: Tensor) -> Linearised:
        cam_t = _from_log_depth(x)
        slope = projection_jacobian(points[people], cam_t, focal[people])
        slope = torch.cat([slope[..., :2], slope[..., 2:] * cam_t[:, None, None, 2:]], -1)
        residual = project(points[people], cam_t, focal[people]) - target[people]
        distance = torch.sqrt(residual.square().sum(-1) + _SMOOTHING**2)
        weight = (confidence[people] / distance)[..., None, None]
        weighted = (slope * weight).flatten(1, 2)
        gradient = weighted.mT @ residual.flatten(1)[..., None]
        return Linearised(
            2 * (confidence[people] * distance).sum(-1), gradient.squeeze(-1), weighted.mT @ slope.flatten(1, 2)
        )

    x = minimise(evaluate, lambda x, step: x + step, start, _SOLVER).x
    return _from_log_depth(x)


def rough_camera(
    points: Float[Tensor, "B K 3"], keypoints: Float[Tensor, "B K 3"], focal: Float[Tensor, "B"] | None = None
) -> Float[Tensor, "B 3"]:
    """cam_t (B, 3) m that gives the pose the keypoints' centre and spread: for a pose that may be unlike them.

    `solve_camera` would move an unlike pose far away until it is a point.
    """
    confidence, focal = usable_confidence(keypoints), focal_of(focal, points)
    weight, _, spread, mean_xy, mean_target = _spreads(points, usable_places(keypoints), confidence)
    depth = focal * spread.reciprocal() - (points[..., 2:] * weight).sum(1).squeeze(-1)
    return torch.cat([mean_target / spread[:, None] - mean_xy, torch.maximum(depth, _nearest(focal))[:, None]], 1)


def _nearest(focal: Tensor) -> Tensor:
    """Least depth (B,) m to start from. Only outliers ask for less; through a wide lens people may be nearer."""
    return (focal / FOCAL).clamp(0.3, 1.0)


def _from_log_depth(x: Tensor) -> Tensor:
    """(tx, ty, log tz) to cam_t: the depth stays positive, and its steps are relative."""
    return torch.cat([x[:, :2], torch.exp(x[:, 2:].clamp(-3, 8))], 1)


def _weak_perspective(points: Tensor, target: Tensor, confidence: Tensor, focal: Tensor) -> Tensor:
    """Least squares of target = s (X + t)_xy; s from the spreads where the pose hardly correlates with the image."""
    weight, variance, spread, mean_xy, mean_target = _spreads(points, target, confidence)
    dx, dt = points[..., :2] - mean_xy[:, None], target - mean_target[:, None]
    scale = torch.maximum((weight * dx * dt).sum((1, 2)) / variance, 0.2 * spread)[:, None]
    depth = focal[:, None] * scale.reciprocal() - (points[..., 2:] * weight).sum(1)
    depth = torch.maximum(depth, _nearest(focal)[:, None])
    return torch.cat([mean_target / scale - mean_xy, torch.log(depth)], 1)


def _spreads(points: Tensor, target: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weights (B, K, 1) that sum to 1, variance of the points (B,), ratio of the spreads (B,), both means (B, 2)."""
    weight = confidence[..., None] / confidence.sum(-1).clamp_min(1e-6)[:, None, None]
    xy = points[..., :2]
    mean_xy, mean_target = (xy * weight).sum(1), (target * weight).sum(1)
    dx, dt = xy - mean_xy[:, None], target - mean_target[:, None]
    variance = (weight * dx * dx).sum((1, 2)).clamp_min(1e-8)
    spread = torch.sqrt((weight * dt * dt).sum((1, 2)) / variance)
    return weight, variance, torch.where(spread > 1e-3, spread, torch.full_like(spread, 1.0)), mean_xy, mean_target
