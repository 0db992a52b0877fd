"""The settings of a fit to keypoints. Run ids are digests of them: a name or default that changes, changes those."""

from dataclasses import dataclass
from typing import Final, Literal

ObjectiveName = Literal["robust", "hsmr"]
Noise = Literal["measured", "uniform"]
Starts = Literal["spread", "mean_pose"]
_NOISE: Final = 0.008


@dataclass(frozen=True, kw_only=True, slots=True)
class SkelifyConfig:
    """Which objective, and the weights of the robust one, each the standard deviation of what it holds.

    As before these were measured: noise=uniform, kernel_scale=0.025, unlabelled_orientation_std=0.2, starts=mean_pose.
    """

    objective: ObjectiveName = "robust"
    noise: Noise = "measured"  # of each keypoint (docs/keypoint_noise.md), copies counted once; uniform: keypoint_noise
    keypoint_noise: float = _NOISE  # crop units, with noise=uniform alone: 2 px of the 256 crop
    kernel_scale: float = 0.05  # crop units; a keypoint this far off has a quarter of its pull left
    coarse_kernel_scale: float = 0.05  # crop units, of the first pass, while the start is still far off
    far_kernel_scale: float = 1.0  # crop units, of a first pass for people who start from the mean pose
    anchor_std: float = 0.17  # rad, joint angle to the start; less for joints with a small range
    orientation_std: float = 0.2  # rad, pelvis to the start
    starts: Starts = "spread"  # for people without a label: poses unlike each other; mean_pose: upright and folded
    unlabelled_anchor_std: float = 0.5  # rad, joint angle to the pose that they start from
    unlabelled_orientation_std: float = 3.0  # rad, pelvis to that start: next to nothing, cameras look up and down
    betas_std: float = 1.0
    depth_std: float = 0.2  # of log depth
    opinion_kernel: float = 3.0  # standard deviations; what pseudo-label or prediction say so far off pulls a quarter
    keypoint_3d_noise: float = 0.08  # m, across the view
    keypoint_3d_depth_noise: float = 0.16  # m, along it
    keypoint_3d_kernel: float = 3.0  # standard deviations; a point this far off has a quarter of its pull left
    coarse_iterations: int = 10
    max_iterations: int = 30
    restart_above: float = 0.025  # objective=hsmr: start again who ends this far over the angle prior's least

    def __post_init__(self) -> None:
        if self.objective == "robust" and self.noise == "measured" and self.keypoint_noise != _NOISE:
            raise ValueError(f"skelify.keypoint_noise={self.keypoint_noise} counts with skelify.noise=uniform alone.")
