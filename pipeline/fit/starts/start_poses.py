"""The poses that people without a label are tried in."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.objectives.skelify_config import Starts
from pipeline.fit.prior.pose_prior import PosePrior
from pipeline.fit.starts.mean_pose import folded_q, mean_q
from schemas.skel import N_UNLIMITED

_SPREAD = 6
"""Poses: more find no better minima (docs/pose_prior.md)."""


@cache
def start_poses(starts: Starts) -> Float[Tensor, "P 46"]:
    """Upright in the camera, float64 rad. mean_pose: the mean pose, upright and folded. spread: these two, then modes
    of the pose prior, each the one furthest from all before it: from the mean pose a fit gets to frequent poses anyway.
    """
    poses = torch.stack([mean_q(), folded_q()])
    return poses if starts == "mean_pose" else _with_furthest(poses, _upright(PosePrior.load().modes()))


def _upright(modes: Tensor) -> Tensor:
    return torch.cat([mean_q()[:N_UNLIMITED].expand(len(modes), -1), modes[:, N_UNLIMITED:]], 1)


def _with_furthest(poses: Tensor, modes: Tensor) -> Tensor:
    while len(poses) < _SPREAD:
        nearest = torch.cdist(modes[:, N_UNLIMITED:], poses[:, N_UNLIMITED:]).amin(1)
        poses = torch.cat([poses, modes[nearest.argmax()][None]])
    return poses
