"""The motion clips as SKEL poses, and which of them are kept apart for checks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.body import Skel, Smpl
from pipeline.fit import SmplToSkel
from tools.pose_prior.angles import conversion_belief
from tools.pose_prior.cmu_skeleton import read_cmu
from tools.pose_prior.cmu_to_skel import cmu_to_q, hinge_axes

HELD_OUT_MOCAP: Final = ("dance_a", "jump", "spinkick")
HELD_OUT_CMU: Final = (
    "test__basketball_1", "test__jumping_1", "test__running_1", "test__soccer_1", "test__walking_8",
    "train__basketball_signal_3", "train__directing_traffic_4", "train__walking_2", "train__walking_20",
    "train__walking_31", "train__walking_44", "train__walking_50",
)  # fmt: skip
"""12 of the 82 CMU clips, of every kind but the one with a single clip; 3 of the 12 others."""


@dataclass(frozen=True)
class Clip:
    """q (T, 46) rad, pelvis as it comes; held_out: not to be learned from."""

    name: str
    q: Tensor
    held_out: bool


def mocap_clips(folder: Path, skel: Skel, smpl: Smpl) -> list[Clip]:
    """SMPL clips by the conversion of the label rounds; frames whose fit is poor are left out."""
    converter, clips = SmplToSkel(smpl, skel), []
    for file in _found(folder):
        with np.load(file, allow_pickle=False) as motion:
            pose = torch.as_tensor(motion["poses"]).reshape(-1, 24, 3)
        found = converter.fit(pose, pose.new_zeros(len(pose), 10))
        clips.append(Clip(file.stem, found.q[~found.poor_fit].double(), file.stem in HELD_OUT_MOCAP))
    return clips


def cmu_clips(file: Path, skel: Skel) -> list[Clip]:
    """CMU clips by directions of their bones."""
    skeleton, motions = read_cmu(file)
    frames = torch.cat(list(motions.values()))
    q = cmu_to_q(skel, conversion_belief(), skeleton, frames, hinge_axes(skeleton, frames))
    parts = q.split([len(motion) for motion in motions.values()])
    return [Clip(name, part, name in HELD_OUT_CMU) for name, part in zip(motions, parts, strict=True)]


def poses(clips: list[Clip], *, held_out: bool) -> Tensor:
    """All poses (B, 46) of one of the two groups."""
    return torch.cat([clip.q for clip in clips if clip.held_out is held_out])


def _found(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no clip (*.npz of SMPL poses) in {folder}; give the folder of the clips with --mocap")
    return files
