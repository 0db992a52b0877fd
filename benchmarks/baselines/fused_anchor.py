"""What a fit from a prediction was held to until 2026-11-26: the mean of anchor and prediction, as wide as the anchor.

Two independent guesses a and b of an angle, with standard deviations s_a and s_b, have the most likely value
a + w (b - a), w = s_a^2 / (s_a^2 + s_b^2). The pelvis is fused as a rotation, along the shortest turn.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.representation import orientation_q, q_to_rotations
from pipeline.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from schemas.skel import N_UNLIMITED


def fused_anchor(
    parent_q: Float[Tensor, "B 46"],
    predicted_q: Float[Tensor, "B 46"],
    parent_std: Float[Tensor, "46"],
    predicted_std: Float[Tensor, "B 46"],
) -> Float[Tensor, "B 46"]:
    """The anchor (B, 46) rad. The standard deviations are rad; of the pelvis the largest of its three counts."""
    share = parent_std.square() / (parent_std.square() + predicted_std.square())
    turned = _between(parent_q, predicted_q, share[:, :N_UNLIMITED].amin(1, keepdim=True))
    limited = torch.lerp(parent_q, predicted_q, share)[:, N_UNLIMITED:]
    return torch.cat([turned, limited], 1)


def _between(a: Tensor, b: Tensor, share: Tensor) -> Float[Tensor, "B 3"]:
    """Pelvis angles of the rotation that is `share` of the way from those of q `a` to those of q `b`."""
    from_a, to_b = q_to_rotations(a)[:, 0], q_to_rotations(b)[:, 0]
    turn = axis_angle_to_matrix(share * matrix_to_axis_angle(to_b @ from_a.mT))
    return orientation_q(turn @ from_a)
