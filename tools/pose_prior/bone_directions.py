"""SKEL angles from directions of bones: the inverse kinematics that needs no bone lengths.

  min over q[3:] of sum_i |G_b(i)(q) e_i - d_i|^2 / std_i^2 + |(q - q_mean) / q_std|^2, inside the joint limits,

e_i a unit vector fixed to bone b(i) in the T-pose, d_i where it points now, seen from the pelvis. Angles on which no
direction depends stay at q_mean.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.kinematics import (
    JOINT_OF_DOF,
    forward_kinematics,
    local_motion,
    local_spin,
    of_dofs,
    parent_rotations,
    rest_pose,
    subtree_table,
)
from pipeline.numerics.levenberg_marquardt import Bounds, Linearised, LmConfig, minimise
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED, q_limits

_AT_ONCE = 512  # frames
_STOP = LmConfig(max_iterations=60, relative_tolerance=1e-6, initial_damping=1e-3)


@dataclass(frozen=True)
class Directions:
    """bone (D,) int64; fixed (D, 3) unit vectors in the T-pose; std (D,) rad."""

    bone: Tensor
    fixed: Tensor
    std: Tensor


@dataclass(frozen=True)
class AngleBelief:
    """q_mean and q_std (46,) rad: what is believed of an angle that the directions do not tell."""

    mean: Tensor
    std: Tensor


class DirectionFit:
    """Fits frames to directions of the bones of SKEL's mean shape."""

    def __init__(self, skel: Skel, directions: Directions, belief: AngleBelief):
        self._rig, self._directions, self._belief = skel.rig, directions, belief
        moves = torch.tensor(subtree_table())[list(JOINT_OF_DOF)][:, directions.bone]
        self._moves = moves.to(skel.dtype)
        self._moves[:N_UNLIMITED] = 0  # the directions are seen from the pelvis
        low, high = (torch.as_tensor(limit, dtype=skel.dtype) for limit in q_limits())
        self._bounds = Bounds(low, high)

    def fit(self, pointing: Float[Tensor, "B D 3"]) -> Float[Tensor, "B 46"]:
        """q of each frame; its first three entries are zero. pointing: unit vectors d."""
        return torch.cat([self._fit(part) for part in pointing.split(_AT_ONCE)])

    def _fit(self, pointing: Tensor) -> Tensor:
        def evaluate(q: Tensor, frames: Tensor) -> Linearised:
            return self._linearise(q, pointing[frames])

        start = self._belief.mean.expand(len(pointing), -1).clone()
        start[:, :N_UNLIMITED] = 0
        return minimise(evaluate, lambda q, step: q + step, start, _STOP, self._bounds).x

    def _linearise(self, q: Tensor, pointing: Tensor) -> Linearised:
        rest, directions = rest_pose(self._rig, q.new_zeros(len(q), N_BETAS)), self._directions
        world = forward_kinematics(local_motion(self._rig, rest, q))
        now = (world.rotations[:, directions.bone] @ directions.fixed[:, :, None]).squeeze(-1)
        axes = of_dofs(parent_rotations(world) @ local_spin(self._rig, rest, q).axes)
        jacobian = torch.linalg.cross(axes[:, :, None], now[:, None].expand(-1, N_Q, -1, -1))
        jacobian = (jacobian * (self._moves / directions.std)[..., None]).flatten(2)
        residual = ((now - pointing) / directions.std[:, None]).flatten(1)
        away = (q - self._belief.mean) / self._belief.std
        away[:, :N_UNLIMITED] = 0
        gradient = (jacobian @ residual[..., None]).squeeze(-1) + away / self._belief.std
        normal = jacobian @ jacobian.mT + torch.diag(self._belief.std**-2)
        return Linearised(residual.square().sum(1) + away.square().sum(1), gradient, normal)
