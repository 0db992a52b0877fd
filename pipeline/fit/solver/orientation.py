"""Moving the pelvis by spin vectors instead of Euler angles: no gimbal, whichever way a person lies."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.keypoints import KeypointsAndJacobian
from pipeline.body.kinematics import Rig
from pipeline.body.representation import orientation_q
from pipeline.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_about, skew
from schemas.skel import DOFS, N_Q, N_UNLIMITED


class PelvisOrientation:
    """World rotation of the pelvis, R = M Rp(q0, q1, q2) M^T with the constant frame M of the body, and its updates."""

    def __init__(self, rig: Rig):
        self.frame = rig.bone_rotations[0] @ rig.apose_rotations[0].mT
        self._axes = rig.bone_rotations.new_tensor([dof.axis for dof in DOFS[:3]])

    def matrix(self, q: Float[Tensor, "B 46"]) -> Float[Tensor, "B 3 3"]:
        """World rotation of the pelvis from its T-pose."""
        turns = [rotation_about(self._axes[i].expand(len(q), 3), q[:, i]) for i in range(3)]
        return self.frame @ turns[2] @ turns[1] @ turns[0] @ self.frame.mT

    def to_q(self, matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3"]:
        """The first three q of a world rotation."""
        return orientation_q(self.frame.mT @ matrix @ self.frame)

    def turned(self, q: Float[Tensor, "B 46"], spin: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
        """First three q after a further turn by the world spin vector, rad."""
        return self.to_q(axis_angle_to_matrix(spin) @ self.matrix(q))

    def retract(self, x: Float[Tensor, "B 59"], step: Float[Tensor, "B 59"]) -> Float[Tensor, "B 59"]:
        """Unknowns x = (q, ...) moved by a step, whose first three entries turn the pelvis."""
        moved = x + step
        return torch.cat([self.turned(x[:, :N_Q], step[:, :3]), moved[:, 3:]], 1)

    def between(self, q: Float[Tensor, "B 46"], start: Float[Tensor, "B 46"]) -> Float[Tensor, "B 3"]:
        """World spin vector that takes the start's orientation to that of q."""
        return matrix_to_axis_angle(self.matrix(q) @ self.matrix(start).mT)

    def euler_axes(self, q: Float[Tensor, "B 46"]) -> Float[Tensor, "B 3 3"]:
        """Columns: world axes of q0, q1, q2, so that spin = axes @ dq."""
        second = rotation_about(self._axes[2].expand(len(q), 3), q[:, 2])
        first = second @ rotation_about(self._axes[1].expand(len(q), 3), q[:, 1])
        third = self._axes[2].expand(len(q), 3)
        local = torch.stack([first @ self._axes[0], second @ self._axes[1], third], -1)
        return self.frame @ local


def spin_jacobian(rig: Rig, found: KeypointsAndJacobian, betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B K 3 56"]:
    """Derivatives of points by (spin, q[3:], betas): the first three q give way to a turn about the pelvis joint."""
    pivot = rig.joint_template[0] + betas @ rig.joint_dirs[0].mT
    return torch.cat([-skew(found.points - pivot[:, None]), found.by_q[..., N_UNLIMITED:], found.by_betas], -1)
