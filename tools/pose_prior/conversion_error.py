"""How far converted joints lie from the CMU skeleton's: `python -m tools.pose_prior.conversion_error --cmu FILE`.

SKEL's bones are given the lengths of the skeleton's, its hips and shoulders their places in the T-pose; what is left
are directions, and that the two trunks bend at different heights.
"""

import argparse
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body import Skel, load_skel
from schemas.skel import JOINT_NAMES, N_BETAS, N_Q, N_UNLIMITED, q_limits
from tools.pose_prior.clips import cmu_clips
from tools.pose_prior.cmu_skeleton import ANKLE, ELBOW, HIP, KNEE, SHOULDER, TOES, WRIST, CmuSkeleton, read_cmu

JOINTS: Final = {"femur": HIP, "tibia": KNEE, "talus": ANKLE, "toes": TOES, "humerus": SHOULDER, "ulna": ELBOW,
                 "hand": WRIST}  # fmt: skip
_CHAINS: Final = (("femur", "tibia", ()), ("tibia", "talus", ()), ("talus", "toes", ("calcn",)),
                  ("humerus", "ulna", ()), ("ulna", "hand", ("radius",)))  # fmt: skip
_TRUNK: Final = ("lumbar_body", "thorax", "head", "scapula_r", "scapula_l")
_EVERY: Final = 10  # frames


def lent_bones(skel: Skel, skeleton: CmuSkeleton) -> Float[Tensor, "24 3"]:
    """Displacements of SKEL's joints in the T-pose that give it the bones of the skeleton, m."""
    nothing = torch.zeros(1, N_Q, dtype=torch.float64)
    rest = skel.joints(nothing, nothing[:, :N_BETAS])[0]
    rest = rest - rest[0]
    theirs = skeleton.pose(nothing.new_zeros(1, int(skeleton.angles.max()) + 1)).joints[0]
    joints, length = rest.clone(), skeleton.offset.norm(dim=1)
    place = JOINT_NAMES.index
    taller = (theirs[list(SHOULDER.values()), 1] / rest[[place("humerus_l"), place("humerus_r")], 1]).mean()
    joints[[place(name) for name in _TRUNK]] *= taller
    for side in "lr":
        for name in ("femur", "humerus"):
            joints[place(f"{name}_{side}")] = theirs[JOINTS[name][side]]
        for first, last, along in _CHAINS:
            start, end = place(f"{first}_{side}"), place(f"{last}_{side}")
            longer = length[JOINTS[last][side]] / (rest[end] - rest[start]).norm()
            for joint in (*(place(f"{name}_{side}") for name in along), end):
                joints[joint] = joints[start] + longer * (rest[joint] - rest[start])
    return joints - rest


def joint_errors(skel: Skel, skeleton: CmuSkeleton, frames: Tensor, q: Tensor) -> Float[Tensor, "B 14"]:
    """Distances, mm, of hips, knees, ankles, toes, shoulders, elbows and wrists, left and right, seen from the pelvis;
    only the mean difference is taken out.
    """
    q = torch.cat([torch.zeros_like(q[:, :N_UNLIMITED]), q[:, N_UNLIMITED:]], 1)
    bones = lent_bones(skel, skeleton).expand(len(q), -1, -1)
    ours = skel.bone_motion(q, q.new_zeros(len(q), N_BETAS), bones)[2].translations
    ours = ours[:, [JOINT_NAMES.index(f"{name}_{side}") for name in JOINTS for side in "lr"]]
    theirs = skeleton.pose(frames).joints[:, [joints[side] for joints in JOINTS.values() for side in "lr"]]
    away = ours - theirs
    return 1000 * (away - away.mean(1, keepdim=True)).norm(dim=-1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cmu", type=Path, required=True)
    file = parser.parse_args().cmu
    skel, (skeleton, motions) = load_skel(dtype=torch.float64), read_cmu(file)
    q = torch.cat([clip.q for clip in cmu_clips(file, skel)])[::_EVERY]
    error = joint_errors(skel, skeleton, torch.cat(list(motions.values()))[::_EVERY], q)
    print(f"{len(q)} frames: mean {error.mean():.1f} mm, 95 % below {error.quantile(0.95):.1f} mm")
    for name, both in zip(JOINTS, error.split(2, 1), strict=True):
        print(f"  {name:8} {both.mean():.1f} mm")
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    print(f"frames outside the joint limits: {int(((q < low) | (q > high)).any(1).sum())}")


if __name__ == "__main__":
    main()
