"""Our objective (docs/objectives.md), in units of squared standard deviations:

  sum_k c_k rho(|project(X_k) - keypoint_k| / noise_k) Geman-McClure, with the scale of real keypoint noise
+ sum_j rho(|q_j - q_anchor,j| / anchor_std)            the pseudo-label, or a pose to start from; what
+ |(betas - betas_anchor) / betas_std|^2               somebody said pulls a quarter opinion_kernel deviations off
+ the same of a network's prediction, with its own standard deviations
+ (log tz / tz_anchor)^2 / depth_std^2
+ sum_k c_k rho(|(X_k - X_39) - point_k| / std_3d)     3D keypoints where there are any; depth counts less
inside the joint limits, which bound the search: no label ever leaves them.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.objectives.objective import Held, Seen, Solve, Stages, passes
from pipeline.fit.objectives.opinion import Opinion
from pipeline.fit.objectives.skelify_config import SkelifyConfig, Starts
from pipeline.fit.solver.image_objective import CAM, ImageObjective
from pipeline.fit.solver.joint_limits import fit_bounds, joint_limits
from pipeline.fit.solver.posterior import Estimate
from pipeline.fit.solver.targets import Kernel
from pipeline.image.keypoint_error import usable_confidence, usable_places
from pipeline.image.keypoint_noise import counted_once, keypoint_noise
from schemas.keypoints import PELVIS
from schemas.skel import N_Q, N_UNLIMITED

_TOLERANCE: Final = 1e-5
_SHARED_ERROR: Final = 1.8
"""Detections err together, so that all of them tell less than their number says: docs/keypoint_noise.md."""


class RobustObjective:
    """See `Objective`; in the dtype and on the device of `like`."""

    def __init__(self, config: SkelifyConfig, like: Float[Tensor, "..."]):
        self._config, self._limits, self.bounds = config, joint_limits(like), fit_bounds(like)
        self._reach = joint_reach(like)

    @property
    def starts(self) -> Starts:
        """As set."""
        return self._config.starts

    def kernel_scales(self, far: bool) -> tuple[float, ...]:
        """From wide to narrow."""
        scales = self._config.coarse_kernel_scale, self._config.kernel_scale
        return (self._config.far_kernel_scale, *scales) if far else scales

    def stages(self, scales: tuple[float, ...]) -> Stages:
        """One per scale."""
        return passes(scales, _TOLERANCE, self._config)

    def lowest(self, terms: ImageObjective, start: Float[Tensor, "B 59"], solve: Solve) -> Estimate:
        """One start is enough: the annealing leaves next to nothing to win."""
        return solve(terms, start, self.stages(self.kernel_scales(far=False)))

    def in_standard_deviations(self, found: Estimate, terms: ImageObjective) -> Estimate:
        """As it is."""
        return found

    def terms(self, seen: Seen, start: Float[Tensor, "B 59"], held: Held) -> ImageObjective:
        """The sum above, of B people."""
        config = self._config
        places_3d, weight_3d = self._space_targets(seen.keypoints_3d)
        anchor, precision = self._holds(held)
        return ImageObjective(
            kernel=Kernel.IMAGE,
            position=usable_places(seen.keypoints),
            weight=keypoint_weight(config, seen.keypoints),
            unit=torch.ones_like(start[:, 0]),
            focal=seen.focal,
            points_3d=places_3d,
            weight_3d=weight_3d,
            kernel_3d=config.keypoint_3d_kernel,
            anchor=anchor,
            precision=precision,
            softness=self._softness(held),
            range_pull=0.0,
            joint_limits=self._limits,
        )

    def _holds(self, held: Held) -> tuple[Tensor, Tensor]:
        """Anchor and precision (B, O, 59) of each opinion; the depth is held with the first."""
        opinions = [Opinion(held.q_betas, self._std(held)), *([] if held.prediction is None else [held.prediction])]
        anchor = held.q_betas.new_zeros(len(held.q_betas), len(opinions), CAM + 3)
        precision = torch.zeros_like(anchor)
        anchor[:, 0, -1], precision[:, 0, -1] = held.log_depth, self._config.depth_std**-2
        for number, opinion in enumerate(opinions):
            anchor[:, number, :CAM], precision[:, number, :CAM] = opinion.q_betas, opinion.std**-2
        return anchor, precision

    def _std(self, held: Held) -> Tensor:
        """Of q and betas around what people are held to (B, 56)."""
        config, like = self._config, held.q_betas
        hold = torch.where(held.mean_pose, config.unlabelled_anchor_std, config.anchor_std)
        std = torch.empty_like(like)
        std[:, :N_Q] = hold[:, None] * self._reach
        free, bound = (like.new_tensor(x) for x in (config.unlabelled_orientation_std, config.orientation_std))
        std[:, :N_UNLIMITED] = torch.where(held.mean_pose, free, bound)[:, None]
        std[:, N_Q:] = config.betas_std
        return std

    def _softness(self, held: Held) -> Tensor:
        """Of each opinion (B, O); a pose that nobody said is theirs holds whatever it may."""
        soft = held.q_betas.new_tensor(self._config.opinion_kernel**-2)
        softness = torch.where(held.mean_pose, 0.0, soft)[:, None]
        return softness if held.prediction is None else torch.cat([softness, soft.expand_as(softness)], 1)

    def _space_targets(self, points_3d: Tensor) -> tuple[Tensor, Tensor]:
        """Places relative to the pelvis (B, 44, 3) m and their weights (B, 44, 3); (B, 0, 3) when nobody has any."""
        confidence = usable_confidence(points_3d)
        confidence = confidence * (confidence[:, PELVIS : PELVIS + 1] > 0)
        if not (confidence > 0).any():
            return points_3d[:, :0, :3], points_3d[:, :0, :3]
        places = usable_places(points_3d)
        across, along = self._config.keypoint_3d_noise, self._config.keypoint_3d_depth_noise
        weight = confidence[..., None] * confidence.new_tensor([across, across, along]) ** -2
        return places - places[:, PELVIS : PELVIS + 1], weight


def joint_reach(like: Float[Tensor, "..."]) -> Float[Tensor, "46"]:
    """Factor of anchor_std: 1, and less for joints with a range below 1.5 rad."""
    low, high = joint_limits(like)
    return ((high - low) / 1.5).clamp_max(1.0)


def labelled_anchor_std(config: SkelifyConfig, like: Float[Tensor, "..."]) -> Float[Tensor, "46"]:
    """How far a labelled person's q may lie from the anchor, one standard deviation, rad."""
    std = config.anchor_std * joint_reach(like)
    return torch.cat([torch.full_like(std[:N_UNLIMITED], config.orientation_std), std[N_UNLIMITED:]])


def keypoint_weight(config: SkelifyConfig, keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B 44"]:
    """Confidence over the squared noise, crop units^-2."""
    if config.noise == "uniform":
        return usable_confidence(keypoints) / config.keypoint_noise**2
    return counted_once(keypoints) / _believed_noise(keypoints) ** 2


def _believed_noise(like: Tensor) -> Float[Tensor, "44"]:
    """Of each keypoint, crop units: a quarter of the way, in logarithms, from the common noise to its own, which is one
    man's.
    """
    own = keypoint_noise().std.to(like)
    common = own.square().mean().sqrt()
    return _SHARED_ERROR * common * (own / common) ** 0.25
