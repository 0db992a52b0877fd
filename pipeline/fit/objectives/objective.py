"""What `Skelify` asks of an objective, and the passes that both are fitted in."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.fit.objectives.opinion import Opinion
from pipeline.fit.objectives.skelify_config import SkelifyConfig, Starts
from pipeline.fit.solver.compiled_solver import Stage
from pipeline.fit.solver.image_objective import ImageObjective
from pipeline.fit.solver.posterior import Estimate
from pipeline.numerics.levenberg_marquardt import Bounds, LmConfig

Stages = tuple[Stage, ...]
Solve = Callable[[ImageObjective, Float[Tensor, "A 59"], Stages], Estimate]
"""(terms of A people, start x (A, 59), stages) -> their minima."""


class Seen(NamedTuple):
    """keypoints: crop units and confidence; keypoints_3d: m and confidence; focal: crop units."""

    keypoints: Float[Tensor, "B 44 3"]
    keypoints_3d: Float[Tensor, "B 44 4"]
    focal: Float[Tensor, "B"]


class Held(NamedTuple):
    """q_betas (B, 56): the q and betas that people are held to; mean_pose (B,) where that q is the mean pose; log_depth
    (B,) of m; prediction: what else is known of them.
    """

    q_betas: Float[Tensor, "B 56"]
    mean_pose: Bool[Tensor, "B"]
    log_depth: Float[Tensor, "B"]
    prediction: Opinion | None = None


class Objective(Protocol):
    """One way to judge how well people fit their keypoints."""

    @property
    def bounds(self) -> Bounds:
        """Where the search may go (59,)."""
        ...

    @property
    def starts(self) -> Starts:
        """What people without a label are tried in."""
        ...

    def kernel_scales(self, far: bool) -> tuple[float, ...]:
        """One per pass; `far`: from the mean pose."""
        ...

    def stages(self, scales: tuple[float, ...]) -> Stages:
        """The passes with these kernel scales."""
        ...

    def terms(self, seen: Seen, start: Float[Tensor, "B 59"], held: Held) -> ImageObjective:
        """What is minimised for B people who start there."""
        ...

    def lowest(self, terms: ImageObjective, start: Float[Tensor, "B 59"], solve: Solve) -> Estimate:
        """The minimum that a fit from `start` ends in."""
        ...

    def in_standard_deviations(self, found: Estimate, terms: ImageObjective) -> Estimate:
        """With the variances of a cost that counts squared standard deviations of the keypoints."""
        ...


def passes(scales: tuple[float, ...], tolerance: float, config: SkelifyConfig) -> Stages:
    """Graduated non-convexity: a wide kernel first, so that far keypoints pull until the body is near them.

    All passes but the last only prepare a start, so they stop early: half the evaluations, the same result.
    """
    return (*(coarse_pass(scale, config) for scale in scales[:-1]), fine_pass(scales[-1], tolerance, config))


def coarse_pass(scale: float, config: SkelifyConfig) -> Stage:
    """One that only prepares a start."""
    iterations = config.coarse_iterations
    return Stage(scale, LmConfig(max_iterations=iterations, relative_tolerance=1e-2, initial_damping=1e-4))


def fine_pass(scale: float, tolerance: float, config: SkelifyConfig) -> Stage:
    """One that ends when a step gains less than `tolerance` of the cost."""
    iterations = config.max_iterations
    return Stage(scale, LmConfig(max_iterations=iterations, relative_tolerance=tolerance, initial_damping=1e-4))
