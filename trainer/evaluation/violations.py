"""How far knees and elbows are bent beyond their limits, by HSMR's measure: the largest over the angles of a joint.

An allowance of t degrees on both sides of a range takes t off a violation, so that one figure tells of all allowances.
"""

from collections.abc import Mapping
from math import pi
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.rotations import euler_from_matrix, wrapped
from schemas.skel import q_limits

PARTS: Final = ("l_knee", "r_knee", "l_elbow", "r_elbow")
TOLERANCES_DEG: Final = (0, 5, 10, 20, 30)

_Q_OF_PART: Final = ((13,), (6,), (42, 43), (32, 33))
_BENT, _TURNED = 3 * pi / 4, 3 * pi / 8


class EulerLimits(NamedTuple):
    """A joint of SMPL: its number, the order of its intrinsic Euler angles, and their range, rad."""

    joint: int
    order: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]


SMPL_LIMITS: Final[Mapping[str, EulerLimits]] = {
    "l_knee": EulerLimits(4, "XZY", (0, 0, 0), (_BENT, 0, 0)),
    "r_knee": EulerLimits(5, "XZY", (0, 0, 0), (_BENT, 0, 0)),
    "l_elbow": EulerLimits(18, "YZX", (-_BENT, 0, -_TURNED), (0, 0, _TURNED)),
    "r_elbow": EulerLimits(19, "YZX", (0, 0, -_TURNED), (_BENT, 0, _TURNED)),
}
"""In axes of SMPL's T-pose, in which a knee bends about x and an elbow about y."""


class Violations(NamedTuple):
    """rad, (B, 4) in the order of PARTS. best: of the Euler angles that are least in violation; first: of those whose
    middle one is within 90 degrees, the only ones that HSMR's code looks at. The same where a joint has hinges.
    """

    best: Float[Tensor, "B 4"]
    first: Float[Tensor, "B 4"]


def skel_violations(q: Float[Tensor, "B 46"]) -> Violations:
    """Of SKEL's own angles: flexion, and pronation of the elbows."""
    low, high = (q.new_tensor(limits) for limits in q_limits())
    beyond = _beyond(wrapped(q), low, high)
    found = torch.stack([beyond[:, list(columns)].amax(1) for columns in _Q_OF_PART], 1)
    return Violations(found, found)


def smpl_violations(rotations: Float[Tensor, "B 24 3 3"]) -> Violations:
    """Of the Euler angles of SMPL's joint rotations, root first."""
    first, second = [], []
    for limits in SMPL_LIMITS.values():
        angles = euler_from_matrix(rotations[:, limits.joint], limits.order)
        first.append(_beyond(angles, angles.new_tensor(limits.low), angles.new_tensor(limits.high)))
        other = wrapped(torch.stack([angles[:, 0] + pi, pi - angles[:, 1], angles[:, 2] + pi], 1))
        second.append(_beyond(other, angles.new_tensor(limits.low), angles.new_tensor(limits.high)))
    of_first, of_second = (torch.stack(found, 1).amax(-1) for found in (first, second))
    return Violations(torch.minimum(of_first, of_second), of_first)


def _beyond(angles: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.maximum(low - angles, angles - high).clamp_min(0)


def statistics(violations: Float[Tensor, "N"]) -> dict[str, float]:
    """max, mean and lower median of a part over all people, and the share of those who violate at all."""
    return {
        "max": float(violations.max()),
        "mean": float(violations.mean()),
        "median": float(violations.median()),  # torch's is the lower one
        "share": float((violations > 0).double().mean()),
    }
