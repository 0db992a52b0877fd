"""CMU frames to SKEL q: which direction of the CMU skeleton tells which bone of SKEL."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.kinematics import rest_pose
from schemas.skel import DOFS, JOINT_NAMES, N_BETAS, Q_NAMES
from tools.pose_prior.bone_directions import AngleBelief, DirectionFit, Directions
from tools.pose_prior.cmu_skeleton import (
    ANKLE,
    CHEST,
    ELBOW,
    HEAD,
    HIP,
    KNEE,
    LOWER_BACK,
    SHOULDER,
    TOES,
    WRIST,
    CmuMotion,
    CmuSkeleton,
)

_LIMB_STD, _CHEST_STD, _HEAD_STD, _FOOT_STD = 0.03, 0.05, 0.1, 0.1  # rad
_LOIN_STD, _TOES_STD, _HINGE_STD = 0.2, 0.2, 0.25  # rad; hinge axes only tell the twist of a nearly straight limb
_AXES = torch.eye(3, dtype=torch.float64)


@dataclass(frozen=True)
class _Clue:
    """A unit vector fixed to a SKEL bone in the T-pose, where it points (B, 3), and how surely, rad."""

    bone: int
    fixed: Tensor
    pointing: Tensor
    std: float


def cmu_to_q(
    skel: Skel, belief: AngleBelief, skeleton: CmuSkeleton, frames: Float[Tensor, "B 117"], hinges: dict[str, Tensor]
) -> Float[Tensor, "B 46"]:
    """q of each frame, pelvis unturned. hinges: flexion axis by CMU joint, see `hinge_axes`."""
    clues = _clues(skel, skeleton.pose(frames), hinges)
    directions = Directions(
        torch.tensor([clue.bone for clue in clues]),
        torch.stack([clue.fixed for clue in clues]),
        torch.tensor([clue.std for clue in clues], dtype=frames.dtype),
    )
    return DirectionFit(skel, directions, belief).fit(torch.stack([clue.pointing for clue in clues], 1))


def hinge_axes(skeleton: CmuSkeleton, frames: Float[Tensor, "B 117"]) -> dict[str, Tensor]:
    """Flexion axes (3,) of knees and elbows in the CMU T-pose, by `knee_l`, `elbow_r` and so on."""
    pairs = {"knee": KNEE, "elbow": ELBOW}
    return {
        f"{name}_{side}": skeleton.hinge_axis(frames, joints[side]) for name, joints in pairs.items() for side in "lr"
    }


def _clues(skel: Skel, motion: CmuMotion, hinges: dict[str, Tensor]) -> list[_Clue]:
    clues = []
    for bone, joint, std in (
        ("lumbar_body", LOWER_BACK, _LOIN_STD),
        ("thorax", CHEST, _CHEST_STD),
        ("head", HEAD, _HEAD_STD),
    ):
        clues += [_turned(bone, motion, joint, axis, std) for axis in _AXES]
    for side in "lr":
        clues += _of_side(skel, motion, hinges, side)
    return clues


def _of_side(skel: Skel, motion: CmuMotion, hinges: dict[str, Tensor], side: str) -> list[_Clue]:
    rest = rest_pose(skel.rig, skel.rig.sources.new_zeros(1, N_BETAS))
    joint = {name: rest.joints[0, index] for index, name in enumerate(JOINT_NAMES)}

    def segment(first: str, last: str) -> Tensor:
        bone = joint[f"{last}_{side}"] - joint[f"{first}_{side}"]
        return bone / bone.norm()

    def between(bone: str, last: str, start: dict[str, int], end: dict[str, int]) -> _Clue:
        there = motion.joints[:, end[side]] - motion.joints[:, start[side]]
        there = there / there.norm(dim=-1, keepdim=True)
        return _Clue(JOINT_NAMES.index(f"{bone}_{side}"), segment(bone, last), there, _LIMB_STD)

    def hinge(bone: str, dof: str, name: str, carrier: dict[str, int]) -> _Clue:
        flexing = DOFS[Q_NAMES.index(f"{dof}_{side}")]
        fixed = rest.frames[0, flexing.joint] @ rest.joints.new_tensor(flexing.axis)
        return _Clue(
            JOINT_NAMES.index(f"{bone}_{side}"),
            fixed / fixed.norm(),
            motion.turns[:, carrier[side]] @ hinges[f"{name}_{side}"],
            _HINGE_STD,
        )

    foot = segment("talus", "toes")
    return [
        between("femur", "tibia", HIP, KNEE),
        between("tibia", "talus", KNEE, ANKLE),
        between("humerus", "ulna", SHOULDER, ELBOW),
        between("ulna", "hand", ELBOW, WRIST),
        hinge("femur", "knee_angle", "knee", HIP),
        hinge("humerus", "elbow_flexion", "elbow", SHOULDER),
        _turned(f"calcn_{side}", motion, ANKLE[side], foot, _FOOT_STD),
        _turned(f"calcn_{side}", motion, ANKLE[side], _AXES[0], _HINGE_STD),
        _turned(f"toes_{side}", motion, TOES[side], _AXES[2], _TOES_STD),
    ]


def _turned(bone: str, motion: CmuMotion, joint: int, fixed: Tensor, std: float) -> _Clue:
    """A bone that both skeletons have with the same axes in the T-pose."""
    return _Clue(JOINT_NAMES.index(bone), fixed, motion.turns[:, joint] @ fixed, std)
