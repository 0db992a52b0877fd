"""The published SKELify refiner's objective, written from its formulas (docs/objectives.md): judge of both solvers."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.image.camera import FOCAL
from schemas.keypoints import SCORED
from schemas.skel import N_UNLIMITED, q_limits

SHAPE_WEIGHT: Final = 5.0
ANGLE_WEIGHT: Final = 4.78 * 0.17
_SIGMA: Final = 100.0
_EDGES: Final = ((5, 12), (2, 9))  # shoulder to hip, left and right


def objective_terms(
    points: Float[Tensor, "B 44 3"],
    q: Float[Tensor, "B 46"],
    betas: Float[Tensor, "B 10"],
    cam_t: Float[Tensor, "B 3"],
    keypoints: Float[Tensor, "B 44 3"],
) -> Float[Tensor, "B 3"]:
    """Weighted reprojection, shape and angle terms of each person; the objective is their sum."""
    low, high = (torch.as_tensor(limit)[N_UNLIMITED:].to(q) for limit in q_limits())
    angles = q[:, N_UNLIMITED:]
    prior = torch.exp(2 * (low - angles)) + torch.exp(2 * (angles - high))
    shape = SHAPE_WEIGHT**2 * betas.square().sum(1)
    return torch.stack([_reprojection(points, cam_t, keypoints), shape, ANGLE_WEIGHT**2 * prior.mean(1)], 1)


def _reprojection(points: Tensor, cam_t: Tensor, keypoints: Tensor) -> Tensor:
    """sum_j conf_j^2 g(residual / torso length), g(x) = s^2 x^2 / (s^2 + x^2)."""
    target, confidence = keypoints[..., :2], keypoints[..., 2]
    first, second = ([edge[end] for edge in _EDGES] for end in (0, 1))
    scale = (target[:, first] - target[:, second]).norm(dim=-1).mean(1)[:, None, None]
    moved = points + cam_t[:, None]
    away = (FOCAL * moved[..., :2] / moved[..., 2:] - target) / (scale + 1e-6)
    robust = (_SIGMA**2 * away.square() / (_SIGMA**2 + away.square())).sum(-1)
    return (confidence.square() * robust)[:, list(SCORED)].sum(1)
