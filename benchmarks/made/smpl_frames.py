"""SMPL poses to convert: frames of mocap clips when there, else pseudo-labels of made-up people."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.body import load_skel
from pipeline.demo_set.poses import sample_bodies
from pipeline.demo_set.pseudo_labels import make_pseudo_labels

KNEES, STRAIGHTEST = [4, 5], np.deg2rad(135)


def smpl_frames(shared: Path | None, count: int) -> tuple[str, Tensor]:
    """Where they are from, and at most `count` poses (B, 24, 3) float64, axis-angle rad, spread over all there are."""
    clips = sorted((shared / "data" / "mocap").glob("*.npz")) if shared else []
    if not clips:
        return "made-up poses (no mocap clips in --shared)", _made(count)
    motions = []
    for clip in clips:
        with np.load(clip, allow_pickle=False) as motion:
            motions.append(motion["poses"].reshape(-1, 24, 3))
    poses = np.concatenate(motions)
    chosen = np.linspace(0, len(poses) - 1, min(count, len(poses))).astype(int)
    return f"{len(clips)} mocap clips", torch.as_tensor(poses[chosen])


def within_knee_limit(pose: Tensor) -> Tensor:
    """(B,) bool: no knee beyond the 135 degrees that SKEL allows."""
    return pose[:, KNEES].norm(dim=-1).amax(1) <= STRAIGHTEST


def _made(count: int) -> Tensor:
    rng, skel = np.random.default_rng(5), load_skel(dtype=torch.float64)
    states = sample_bodies(rng, 2 * count)
    rotations = skel.bone_motion(torch.as_tensor(states.q), torch.as_tensor(states.betas))[2].rotations.numpy()
    labels = make_pseudo_labels(rng, rotations, states.betas)
    return torch.as_tensor(labels.pose[labels.has_pose][:count])
