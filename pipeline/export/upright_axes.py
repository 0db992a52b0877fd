"""From camera axes (x right, y down, z forward) to axes in which people stand upright.

- upright axes: x to the image's right, y up, z towards the camera. A person who stands facing the camera faces +z, as
  a glTF asset should and as SKEL does at q = 0.
- ground axes: x towards the camera, y up, z to the image's left; OpenSim's forward, up and right of that person, whose
  pelvis angles are then all zero. "Up" is the image's: nothing tells how the camera was tilted.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.solver.orientation import PelvisOrientation


def to_upright(points: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    """(..., 3) m from camera axes to upright axes: a half turn about x."""
    return points * np.array([1, -1, -1], points.dtype)


def to_ground(points: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    """(..., 3) m from camera axes to ground axes: (-z, -y, -x)."""
    return upright_to_ground(to_upright(points))


def upright_to_ground(points: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    """(..., 3) m from upright axes to ground axes: (z, y, -x)."""
    return points[..., [2, 1, 0]] * np.array([1, 1, -1], points.dtype)


def pose_on_ground(q: Float[Tensor, "B 46"], orientation: PelvisOrientation) -> Float[Tensor, "B 46"]:
    """q with the pelvis angles that the same pose has in ground axes (YXZ, as in docs/body_model.md)."""
    half_turn = torch.diag(q.new_tensor([1.0, -1.0, -1.0]))
    return torch.cat([orientation.to_q(half_turn @ orientation.matrix(q)), q[:, 3:]], 1)
