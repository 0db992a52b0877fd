"""SMPL poses as rotation matrices: seen in a mirror, and in other axes."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

SmplRotations = Float[Tensor, "*B 24 3 3"]
"""Of the 24 joints, each relative to its parent; the root's in camera axes."""

MIRRORED_JOINTS: Final = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22)
"""Which joint of SMPL each one becomes in a mirror."""


def mirror_smpl(rotations: SmplRotations) -> SmplRotations:
    """The pose seen in a mirror: left and right exchanged, M R M with M = diag(-1, 1, 1)."""
    sign = rotations.new_tensor([-1.0, 1.0, 1.0])
    return rotations[..., list(MIRRORED_JOINTS), :, :] * sign[:, None] * sign


def turn_root(rotations: SmplRotations, turn: Float[Tensor, "*B 3 3"]) -> SmplRotations:
    """The same pose in the axes that `turn` leads to."""
    return torch.cat([(turn @ rotations[..., 0, :, :])[..., None, :, :], rotations[..., 1:, :, :]], -3)
