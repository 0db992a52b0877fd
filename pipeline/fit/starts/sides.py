"""Poses seen from other sides: turned to face four ways, and rolled in the image plane as keypoints lie."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.image.keypoint_error import usable_confidence, usable_places
from schemas.skel import N_UNLIMITED

_YAWS: Final = (0.0, 90.0, 180.0, 270.0)


def facing_four_ways(orientation: PelvisOrientation, q: Float[Tensor, "P 46"]) -> Float[Tensor, "Q 46"]:
    """Each pose turned about the vertical; Q = 4 P."""
    q = q.repeat(len(_YAWS), 1)
    up = torch.zeros_like(q[:, :3])
    up[:, 1] = torch.deg2rad(q.new_tensor(_YAWS)).repeat_interleave(len(q) // len(_YAWS))
    return torch.cat([orientation.turned(q, up), q[:, N_UNLIMITED:]], 1)


def rolled_like(
    orientation: PelvisOrientation,
    keypoints: Float[Tensor, "B 44 3"],
    q: Float[Tensor, "B 46"],
    points: Float[Tensor, "B 44 3"],
) -> Float[Tensor, "B 46"]:
    """Turned in the image plane as the keypoints lie, by the Procrustes angle of the points both have.

    points: the keypoints in m of the poses q.
    """
    points = points[..., :2]
    weight = usable_confidence(keypoints)[..., None]
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
    target = usable_places(keypoints)
    a, b = points - (points * weight).sum(1, keepdim=True), target - (target * weight).sum(1, keepdim=True)
    sine = (weight[..., 0] * (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])).sum(1)
    cosine = (weight * a * b).sum((1, 2))
    spin = torch.zeros_like(q[:, :3])
    spin[:, 2] = torch.atan2(sine, cosine)
    return torch.cat([orientation.turned(q, spin), q[:, N_UNLIMITED:]], 1)
