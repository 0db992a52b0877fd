"""Tracks with a known truth: converted motion capture, and made-up motion of any length."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.made.people import inside_limits
from pipeline.body import Skel, Smpl
from pipeline.demo_set.poses import sample_bodies
from pipeline.fit import SkelifyResult, SmplToSkel
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.image.camera import project
from pipeline.image.crop import CROP_PX

NOISE_PX, OFF = 1.5, 0.15


class Track:
    """The truth q (T, 46) and betas, its keypoints with 1.5 px of noise, a start 0.15 rad off in every angle."""

    def __init__(self, skel: Skel, q: Tensor, betas: Tensor, seed: int = 1):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.q, self.betas, self.frames = q, betas, torch.arange(len(q))
        self.cam_t = torch.tensor([0.0, 0.0, 45.0], dtype=torch.float64).repeat(len(q), 1)
        xy = project(skel.keypoints(q, betas), self.cam_t) + NOISE_PX / CROP_PX * normal(len(q), 44, 2)
        self.keypoints = torch.cat([xy, torch.ones_like(xy[..., :1])], -1)
        self.start = (inside_limits(q + OFF * normal(len(q), 46)), torch.zeros_like(betas), self.cam_t)
        self.joints = self._centred(skel, q, betas)

    @staticmethod
    def _centred(skel: Skel, q: Tensor, betas: Tensor) -> Tensor:
        joints = skel.joints(q, betas)
        return joints - joints[:, :1]

    def mpjpe_mm(self, skel: Skel, found: SkelifyResult) -> float:
        return float((self._centred(skel, found.q, found.betas) - self.joints).norm(dim=-1).mean()) * 1000

    def jitter_mm(self, skel: Skel, found: SkelifyResult) -> float:
        """Mean error of the joints' acceleration, mm per frame squared."""
        away = self._centred(skel, found.q, found.betas) - self.joints
        return float((away[2:] - 2 * away[1:-1] + away[:-2]).norm(dim=-1).mean()) * 1000


def frame_rate(path: Path) -> float:
    """Of a motion capture clip, frames a second."""
    with np.load(path, allow_pickle=False) as motion:
        return float(motion["mocap_framerate"])


def converted(path: Path, smpl: Smpl, skel: Skel, frames: int) -> tuple[Tensor, Tensor]:
    """q of the first frames of a clip, stood up in the image, and one shape for all."""
    with np.load(path, allow_pickle=False) as motion:
        poses = torch.as_tensor(motion["poses"][:frames]).reshape(-1, 24, 3)
    found = SmplToSkel(smpl, skel).fit(poses, torch.zeros(len(poses), 10))
    upside_down = torch.tensor([torch.pi, 0.0, 0.0], dtype=torch.float64).repeat(len(poses), 1)
    q = torch.cat([PelvisOrientation(skel.rig).turned(found.q, upside_down), found.q[:, 3:]], 1)
    return q, found.betas.mean(0, keepdim=True).repeat(len(poses), 1)


def made_motion(frames: int, seed: int, fps: float = 30.0) -> tuple[Tensor, Tensor]:
    """q of someone who moves from pose to pose, one a second, without a halt in velocity; one shape."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames) / fps
    stations = sample_bodies(rng, int(seconds[-1]) + 2)
    poses = stations.q.copy()
    poses[:, :3] = poses[0, :3]  # Euler angles of far orientations must not be mixed
    before = np.floor(seconds).astype(int)
    ease = (1 - np.cos(np.pi * (seconds - before)))[:, None] / 2
    q = (1 - ease) * poses[before] + ease * poses[before + 1]
    return torch.as_tensor(q).double(), torch.as_tensor(stations.betas[:1]).double().repeat(frames, 1)
