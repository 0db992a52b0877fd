"""People with a known truth, the keypoints a detector would give, and a start some way off."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from benchmarks.made.crop_fit import fit_crop_cameras
from pipeline.body import Skel
from pipeline.demo_set.poses import sample_bodies
from pipeline.image.camera import project
from pipeline.image.crop import CROP_PX
from pipeline.numerics.error_metrics import mpjpe_mm, pa_mpjpe_mm
from schemas.keypoints import SCORED
from schemas.skel import N_UNLIMITED, q_limits


@dataclass(frozen=True)
class Bodies:
    """q (B, 46) rad, betas (B, 10), cam_t (B, 3) m."""

    q: Tensor
    betas: Tensor
    cam_t: Tensor

    def rows(self, rows: slice | Tensor) -> Self:
        return type(self)(self.q[rows], self.betas[rows], self.cam_t[rows])

    def to(self, device: str) -> Self:
        return type(self)(self.q.to(device), self.betas.to(device), self.cam_t.to(device))


@dataclass(frozen=True)
class Sighted:
    """People to refine: their truth, where a fit starts, and keypoints (B, 44, 3) in crop units with confidence."""

    truth: Bodies
    start: Bodies
    keypoints: Tensor

    def rows(self, rows: slice | Tensor) -> "Sighted":
        return Sighted(self.truth.rows(rows), self.start.rows(rows), self.keypoints[rows])


def perturbed_people(
    skel: Skel, count: int, *, seed: int, off: float = 0.15, dropped: float = 0.15, noise_px: float = 1.5
) -> Sighted:
    """The speed benchmark: start `off` rad away inside the limits, drop-outs, Gaussian noise."""
    rng = np.random.default_rng(seed)
    truth = posed(skel, rng, *_demo_poses(rng, count))
    points = project(skel.keypoints(truth.q, truth.betas), truth.cam_t)
    points = points + _normal(rng, points) * noise_px / CROP_PX
    seen = torch.as_tensor(rng.random((count, 44, 1)) >= dropped)
    confidence = torch.as_tensor(rng.uniform(0.5, 1.0, (count, 44, 1))).to(points)
    start = Bodies(
        inside_limits(truth.q + off * _normal(rng, truth.q)),
        torch.zeros_like(truth.betas),
        truth.cam_t * (1 + 0.05 * _normal(rng, truth.cam_t)),
    )
    return Sighted(truth, start, torch.cat([points, confidence], -1) * seen)


def posed(skel: Skel, rng: np.random.Generator, q: np.ndarray, betas: np.ndarray) -> Bodies:
    """Under crop cameras that frame the keypoints as boxes frame people."""
    own_q, own_betas = (torch.as_tensor(x, dtype=skel.dtype, device=skel.device) for x in (q, betas))
    points = skel.keypoints(own_q, own_betas)
    cam_t = fit_crop_cameras(rng, points.double().cpu().numpy())
    return Bodies(own_q, own_betas, torch.as_tensor(cam_t).to(points))


def inside_limits(q: Tensor) -> Tensor:
    """Every limited angle clamped to its range."""
    low, high = (torch.as_tensor(limit).to(q) for limit in q_limits())
    return torch.cat([q[:, :N_UNLIMITED], q.clamp(low, high)[:, N_UNLIMITED:]], 1)


def errors(skel: Skel, found: Bodies, truth: Bodies) -> dict[str, float]:
    """Means over people: MPJPE (aligned at joint 0) and PA-MPJPE of the 24 joints in mm, px to the TRUE keypoints of
    the 256 crop, mean |beta error|, share of people beyond a joint limit by over one degree.
    """
    joints, true_joints = (skel.joints(who.q.to(skel.dtype), who.betas.to(skel.dtype)) for who in (found, truth))
    points, true_points = (
        project(skel.keypoints(who.q.to(skel.dtype), who.betas.to(skel.dtype)), who.cam_t.to(skel.dtype))
        for who in (found, truth)
    )
    low, high = (torch.as_tensor(limit)[N_UNLIMITED:].to(found.q) for limit in q_limits())
    angles = found.q[:, N_UNLIMITED:]
    excess = torch.rad2deg(torch.maximum(angles - high, low - angles).amax(1))
    return {
        "mpjpe": float(mpjpe_mm(joints, true_joints, root=0).mean()),
        "pa_mpjpe": float(pa_mpjpe_mm(joints, true_joints).mean()),
        "kp_px": float((points - true_points)[:, list(SCORED)].norm(dim=-1).mean()) * CROP_PX,
        "betas": float((found.betas - truth.betas).abs().mean()),
        "beyond_limits": float((excess > 1).double().mean()),
    }


def _demo_poses(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    states = sample_bodies(rng, count)
    return states.q, states.betas


def _normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    return torch.as_tensor(rng.normal(size=tuple(like.shape))).to(like)
