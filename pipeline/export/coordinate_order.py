"""How the three angles of a joint are composed: SKEL's way, and OpenSim's.

SKEL turns about its axes in turn, each fixed in the parent: Rp = R(a3, q3) R(a2, q2) R(a1, q1). An OpenSim CustomJoint
with the same axes as rotation1, rotation2, rotation3 composes them body-fixed: R(a1, p1) R(a2, p2) R(a3, p3). For one
turn at a time both agree; together they do not (11.9 degrees apart for a pelvis at 20 degrees each).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.representation import Q_OF_JOINT, q_to_rotations
from pipeline.body.rotations import euler_from_matrix
from schemas.skel import DOFS

AngleOrder = Literal["skel", "opensim"]
"""Whose way."""


def opensim_angles(q: Float[Tensor, "B 46"]) -> Float[Tensor, "B 46"]:
    """q re-expressed for OpenSim joints that list SKEL's axes in q's order; only joints with three angles change.

    The middle angle of each comes out within +-90 degrees. A wrist's two angles stay SKEL's: two turns in the other
    order cannot give the same rotation.
    """
    rotations, angles = q_to_rotations(q), q.clone()
    for joint, ids in enumerate(Q_OF_JOINT):
        if len(ids) == 3:
            axes = torch.tensor([DOFS[i].axis for i in ids], dtype=q.dtype, device=q.device)
            order = "".join("XYZ"[int(axis.abs().argmax())] for axis in axes)
            angles[:, list(ids)] = euler_from_matrix(rotations[:, joint], order) * axes.sum(1)
    return angles
