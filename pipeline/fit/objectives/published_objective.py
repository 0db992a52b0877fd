"""HSMR's SKELify refiner objective, for comparison (docs/objectives.md), per person instead of a mean over the batch.

Its faults are kept: the scale of the keypoints ignores their confidence, the kernel is plain squares, the shape prior
crushes betas to zero, and the angle prior is a pull to the middle of every joint's range, not a barrier.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.image.camera import project
from schemas.keypoints import SCORED, UNSCORED
from schemas.skel import N_UNLIMITED, q_limits

KERNEL_SCALE: Final = 100.0
"""Of the residuals in torso lengths."""
SHAPE_WEIGHT: Final = 5.0**2
ANGLE_WEIGHT: Final = (4.78 * 0.17) ** 2
"""Of the mean over the 43 limited q."""

_TORSO_EDGES: Final = ((5, 12), (2, 9))


def torso_length(keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B"]:
    """Mean length of the shoulder-to-hip edges in the image, whatever their confidence, plus 1e-6; crop units."""
    places = torch.nan_to_num(keypoints[..., :2], 0.0, 0.0, 0.0)
    edges = [(places[:, a] - places[:, b]).norm(dim=-1) for a, b in _TORSO_EDGES]
    return torch.stack(edges).mean(0) + 1e-6


def squared_confidence(keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B 44"]:
    """Confidence squared; 0 where anything is not finite and at the unscored 37, 38."""
    weight = torch.where(torch.isfinite(keypoints).all(-1), keypoints[..., 2], 0).square()
    return weight.index_fill(1, torch.tensor(UNSCORED, device=weight.device), 0)


def hsmr_objective(
    skel: Skel,
    q: Float[Tensor, "B 46"],
    betas: Float[Tensor, "B 10"],
    cam_t: Float[Tensor, "B 3"],
    keypoints: Float[Tensor, "B 44 3"],
) -> Float[Tensor, "B 4"]:
    """Weighted terms of each person: reprojection, shape prior, angle prior, and their sum."""
    weight = squared_confidence(keypoints)[:, SCORED]
    away = project(skel.keypoints(q, betas), cam_t) - torch.nan_to_num(keypoints[..., :2], 0.0, 0.0, 0.0)
    squared = (away[:, SCORED] / torso_length(keypoints)[:, None, None]).square()
    reprojection = (weight[..., None] * KERNEL_SCALE**2 * squared / (KERNEL_SCALE**2 + squared)).sum((1, 2))
    low, high = (torch.as_tensor(limit, dtype=q.dtype, device=q.device)[N_UNLIMITED:] for limit in q_limits())
    limited = q[:, N_UNLIMITED:]
    angles = ANGLE_WEIGHT * (torch.exp(2 * (low - limited)) + torch.exp(2 * (limited - high))).mean(1)
    shape = SHAPE_WEIGHT * betas.square().sum(1)
    return torch.stack([reprojection, shape, angles, reprojection + shape + angles], 1)
