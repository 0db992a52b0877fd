"""The CMU skeleton of the motion file: joint angles as exponential maps, forward kinematics, names of its joints."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.rotations import axis_angle_to_matrix

LOWER_BACK, CHEST, HEAD = 13, 15, 18
"""Joints whose rotations carry the loin, the rib cage with both collar bones, and the head."""
HIP, KNEE, ANKLE, TOES, SHOULDER, ELBOW, WRIST = (
    {"l": 2, "r": 8}, {"l": 3, "r": 9}, {"l": 4, "r": 10}, {"l": 5, "r": 11},
    {"l": 21, "r": 30}, {"l": 22, "r": 31}, {"l": 23, "r": 32},
)  # fmt: skip


@dataclass(frozen=True)
class CmuMotion:
    """Frames seen from the pelvis, which stands upright at the origin: turns (B, 38, 3, 3) take the T-pose to the pose
    (column vectors, x left, y up, z forward), joints (B, 38, 3) m.
    """

    turns: Tensor
    joints: Tensor


@dataclass(frozen=True)
class CmuSkeleton:
    """parent (38,), offset (38, 3) m from the parent in the T-pose, angles (38, 3): where in a frame they stand."""

    parent: np.ndarray
    offset: Tensor
    angles: np.ndarray

    def pose(self, frames: Float[Tensor, "B 117"]) -> CmuMotion:
        """R_i = exp(x_i) R_parent and p_i = offset_i R_parent + p_parent for row vectors; the root is left out."""
        local = axis_angle_to_matrix(-frames[:, self.angles])  # columns instead of rows: the transposed rotation
        turns = [torch.eye(3, dtype=frames.dtype).expand(len(frames), 3, 3)]
        joints = [frames.new_zeros(len(frames), 3)]
        for joint in range(1, len(self.parent)):
            parent = int(self.parent[joint])
            turns.append(turns[parent] @ local[:, joint])
            joints.append(joints[parent] + turns[parent] @ self.offset[joint])
        return CmuMotion(torch.stack(turns, 1), torch.stack(joints, 1))

    def hinge_axis(self, frames: Float[Tensor, "B 117"], joint: int) -> Float[Tensor, "3"]:
        """Unit axis, in the T-pose, about which a one-axis joint flexes: where its turns lie on average."""
        axis = -frames[:, self.angles[joint]].sum(0)
        return axis / axis.norm()


def read_cmu(path: Path) -> tuple[CmuSkeleton, dict[str, Tensor]]:
    """The skeleton and every clip's frames (T, 117) float64 by name, such as `train__walking_1`."""
    with np.load(path, allow_pickle=False) as file:
        offset = torch.as_tensor(file["offset"], dtype=torch.float64) * float(file["unit_m"])
        skeleton = CmuSkeleton(file["parent"], offset, file["expmapInd"])
        clips = {name.partition("/")[2]: file[name] for name in file.files if name.startswith("expmap/")}
    return skeleton, {name: torch.as_tensor(frames, dtype=torch.float64) for name, frames in clips.items()}
