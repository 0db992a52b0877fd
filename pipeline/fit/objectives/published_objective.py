"""HSMR's SKELify refiner objective, for comparison (docs/objectives.md), per person instead of a mean over the batch.

Its faults are kept: the scale of the keypoints ignores their confidence, the kernel is plain squares, the shape prior
crushes betas to zero, and the angle prior is a pull to the middle of every joint's range, not a barrier.
"""

from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.objectives import restarts
from pipeline.fit.objectives.objective import Held, Seen, Solve, Stages, coarse_pass, passes
from pipeline.fit.objectives.skelify_config import SkelifyConfig, Starts
from pipeline.fit.solver.image_objective import CAM, ImageObjective
from pipeline.fit.solver.joint_limits import fit_bounds, joint_limits
from pipeline.fit.solver.posterior import Estimate
from pipeline.fit.solver.targets import Kernel
from pipeline.image.camera import project
from pipeline.numerics.levenberg_marquardt import Bounds
from schemas.keypoints import SCORED, UNSCORED
from schemas.skel import N_Q, N_UNLIMITED, q_limits

KERNEL_SCALE: Final = 100.0
"""Of the residuals in torso lengths."""
SHAPE_WEIGHT: Final = 5.0**2
ANGLE_WEIGHT: Final = (4.78 * 0.17) ** 2
"""Of the mean over the 43 limited q."""

_TORSO_EDGES: Final = ((5, 12), (2, 9))
_TOLERANCE: Final = 1e-7  # fitted to be compared


class PublishedObjective:
    """See `Objective`; in the dtype and on the device of `like`. Without bounds, and without 3D keypoints."""

    def __init__(self, config: SkelifyConfig, like: Float[Tensor, "..."]):
        self._config, self._limits = config, joint_limits(like)
        free = torch.full_like(fit_bounds(like).low, torch.inf)
        self.bounds = Bounds(-free, free)

    @property
    def starts(self) -> Starts:
        """As the original."""
        return "mean_pose"

    def kernel_scales(self, far: bool) -> tuple[float, ...]:
        """The published one, wherever the start."""
        return (KERNEL_SCALE,)

    def stages(self, scales: tuple[float, ...]) -> Stages:
        """One per scale."""
        return passes(scales, _TOLERANCE, self._config)

    def lowest(self, terms: ImageObjective, start: Float[Tensor, "B 59"], solve: Solve) -> Estimate:
        """The lowest of several starts, since there are many minima (`restarts`)."""
        (fine,) = self.stages((KERNEL_SCALE,))
        search = replace(fine, stop=replace(fine.stop, relative_tolerance=1e-3))
        last = replace(fine, stop=replace(fine.stop, initial_damping=1e-5))  # it starts near its end
        coarse = coarse_pass(KERNEL_SCALE, self._config)
        plan = restarts.Passes((fine,), (coarse,), (search,), (last,))
        return restarts.lowest(terms, start, solve, plan, self._config.restart_above)

    def in_standard_deviations(self, found: Estimate, terms: ImageObjective) -> Estimate:
        """It counts torso lengths: its variances are taken to the keypoint noise."""
        factor = (self._config.keypoint_noise / terms.unit).square()[:, None]
        return replace(found, variance=found.variance * factor, spin=found.spin * factor[..., None])

    def terms(self, seen: Seen, start: Float[Tensor, "B 59"], held: Held) -> ImageObjective:
        """As `hsmr_objective` sums them. Nobody is held to an anchor."""
        keypoints, torso = seen.keypoints, torso_length(seen.keypoints)
        precision = torch.zeros_like(start)
        precision[:, N_Q:CAM] = SHAPE_WEIGHT
        return ImageObjective(
            kernel=Kernel.IMAGE_PER_AXIS,
            position=torch.nan_to_num(keypoints[..., :2], 0.0, 0.0, 0.0),
            weight=squared_confidence(keypoints) / torso[:, None] ** 2,
            unit=torso,
            focal=seen.focal,
            points_3d=keypoints[:, :0],
            weight_3d=keypoints[:, :0],
            kernel_3d=1.0,
            anchor=torch.zeros_like(start)[:, None],
            precision=precision[:, None],
            softness=torch.zeros_like(start[:, :1]),
            range_pull=ANGLE_WEIGHT / (N_Q - N_UNLIMITED),
            joint_limits=self._limits,
        )


def torso_length(keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B"]:
    """Mean length of the shoulder-to-hip edges in the image, whatever their confidence, plus 1e-6; crop units."""
    places = torch.nan_to_num(keypoints[..., :2], 0.0, 0.0, 0.0)
    edges = [(places[:, a] - places[:, b]).norm(dim=-1) for a, b in _TORSO_EDGES]
    return torch.stack(edges).mean(0) + 1e-6


def squared_confidence(keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B 44"]:
    """Confidence squared; 0 where anything is not finite and at the unscored 37, 38."""
    weight = torch.where(torch.isfinite(keypoints).all(-1), keypoints[..., 2], 0).square()
    return weight.index_fill(1, torch.tensor(UNSCORED, device=weight.device), 0)


def hsmr_objective(
    skel: Skel,
    q: Float[Tensor, "B 46"],
    betas: Float[Tensor, "B 10"],
    cam_t: Float[Tensor, "B 3"],
    keypoints: Float[Tensor, "B 44 3"],
    focal: Float[Tensor, "B"] | None = None,
) -> Float[Tensor, "B 4"]:
    """Weighted terms of each person: reprojection, shape prior, angle prior, and their sum."""
    weight = squared_confidence(keypoints)[:, SCORED]
    away = project(skel.keypoints(q, betas), cam_t, focal) - torch.nan_to_num(keypoints[..., :2], 0.0, 0.0, 0.0)
    squared = (away[:, SCORED] / torso_length(keypoints)[:, None, None]).square()
    reprojection = (weight[..., None] * KERNEL_SCALE**2 * squared / (KERNEL_SCALE**2 + squared)).sum((1, 2))
    low, high = (torch.as_tensor(limit, dtype=q.dtype, device=q.device)[N_UNLIMITED:] for limit in q_limits())
    limited = q[:, N_UNLIMITED:]
    angles = ANGLE_WEIGHT * (torch.exp(2 * (low - limited)) + torch.exp(2 * (limited - high))).mean(1)
    shape = SHAPE_WEIGHT * betas.square().sum(1)
    return torch.stack([reprojection, shape, angles, reprojection + shape + angles], 1)
