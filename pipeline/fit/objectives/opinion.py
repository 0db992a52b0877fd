"""What somebody thinks a person's q and betas are, and how far off that may be; and two opinions as one.

Two independent opinions a and b of a number, with standard deviations s_a and s_b, make one: its mean is
a + w (b - a) with w = s_a^2 / (s_a^2 + s_b^2), its precision the sum of theirs. The pelvis is a rotation: its mean lies
on the shortest turn from one to the other.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.representation import orientation_q, q_to_rotations
from pipeline.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from schemas.skel import N_Q, N_UNLIMITED


class Opinion(NamedTuple):
    """q_betas (B, 56): q rad and betas; std (B, 56): one standard deviation of each, infinite where nothing is said;
    of the pelvis, whose three q stand for a spin vector, all alike.
    """

    q_betas: Float[Tensor, "B 56"]
    std: Float[Tensor, "B 56"]


def together(a: Opinion, b: Opinion) -> Opinion:
    """The opinion of two who do not know of each other. Where b says nothing it is a, to the last bit."""
    precision_a, precision_b = a.std**-2, b.std**-2
    precision = precision_a + precision_b
    share = torch.where(precision_b > 0, precision_b / precision, 0)
    mean = torch.where(share > 0, torch.lerp(a.q_betas, b.q_betas, share), a.q_betas)
    turned = _between(a.q_betas[:, :N_Q], b.q_betas[:, :N_Q], share[:, :1])
    pelvis = torch.where(share[:, :1] > 0, turned, a.q_betas[:, :N_UNLIMITED])
    return Opinion(torch.cat([pelvis, mean[:, N_UNLIMITED:]], 1), precision**-0.5)


def _between(a: Float[Tensor, "B 46"], b: Float[Tensor, "B 46"], share: Float[Tensor, "B 1"]) -> Float[Tensor, "B 3"]:
    """Pelvis angles of the rotation that is `share` of the way from those of q `a` to those of q `b`."""
    from_a, to_b = q_to_rotations(a)[:, 0], q_to_rotations(b)[:, 0]
    turn = axis_angle_to_matrix(share * matrix_to_axis_angle(to_b @ from_a.mT))
    return orientation_q(turn @ from_a)
