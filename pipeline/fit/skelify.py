"""SKELify: q, betas and camera from 2D keypoints and an initial guess, one independent problem per person (SPEC 4).

The robust objective, in units of squared standard deviations:
  sum_k c_k rho(|project(X_k) - keypoint_k| / noise)   Geman-McClure, with the scale of real keypoint noise
+ |(q - q_anchor) / anchor_std|^2                      holds what the keypoints do not see
+ |(betas - betas_anchor) / betas_std|^2 + (log tz / tz_start)^2 / depth_std^2
+ sum_k c_k rho(|(X_k - X_39) - point_k| / std_3d)     3D keypoints where there are any; depth counts less
inside the joint limits, which bound the search: no label ever leaves them.
The pelvis moves by spin vectors, so lying and upside-down people are no special case.

objective=hsmr minimises the published refiner objective instead (`pipeline.fit.objectives.published_objective`).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.objectives import restarts
from pipeline.fit.objectives.published_objective import (
    ANGLE_WEIGHT,
    KERNEL_SCALE,
    SHAPE_WEIGHT,
    squared_confidence,
    torso_length,
)
from pipeline.fit.solver.compiled_linearise import linearise_people
from pipeline.fit.solver.compiled_solver import Stage, solve
from pipeline.fit.solver.image_objective import CAM, ImageObjective, cam_t_of, linearise
from pipeline.fit.solver.joint_limits import fit_bounds
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.fit.solver.posterior import Estimate, q_standard_deviation
from pipeline.fit.solver.solver_dtype import in_solver_dtype
from pipeline.fit.solver.targets import Kernel
from pipeline.fit.starts.mean_pose import folded_q, mean_q
from pipeline.image.camera import project, rough_camera
from pipeline.image.keypoint_error import kp2d_error, usable_confidence, usable_places
from pipeline.numerics.levenberg_marquardt import Bounds, Linearised, LmConfig, Minimum, minimise
from schemas.keypoints import PELVIS
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED, q_limits

Objective = Literal["robust", "hsmr"]

_YAWS = (0.0, 90.0, 180.0, 270.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SkelifyConfig:
    """Which objective, and the weights of the robust one, each the standard deviation of what it holds."""

    objective: Objective = "robust"
    keypoint_noise: float = 0.008  # crop units: 2 px of the 256 crop
    kernel_scale: float = 0.025  # crop units; a keypoint this far off has half its pull left
    coarse_kernel_scale: float = 0.05  # crop units, of the first pass, while the start is still far off
    far_kernel_scale: float = 1.0  # crop units, of a first pass for people who start from the mean pose
    anchor_std: float = 0.17  # rad, joint angle to the start; less for joints with a small range
    orientation_std: float = 0.2  # rad, pelvis to the start
    unlabelled_anchor_std: float = 0.5  # rad, joint angle to the mean pose for people without a label
    betas_std: float = 1.0
    depth_std: float = 0.2  # of log depth
    keypoint_3d_noise: float = 0.08  # m, across the view
    keypoint_3d_depth_noise: float = 0.16  # m, along it
    keypoint_3d_kernel: float = 3.0  # standard deviations; a point this far off has half its pull left
    coarse_iterations: int = 10
    max_iterations: int = 30
    restart_above: float = 0.025  # objective=hsmr: start again who ends this far over the angle prior's least


class Anchor(NamedTuple):
    """What people are held to: q (B, 46) rad; mean_pose (B,) bool where that is the mean pose, which holds less; betas
    (B, 10), those of the guess when not given.
    """

    q: Tensor
    mean_pose: Tensor
    betas: Tensor | None = None


class SkelifyResult(NamedTuple):
    """One value per person: q (B, 46) rad, betas (B, 10), cam_t (B, 3) m, kp2d_error (B,) crop units under this camera,
    iterations (B,), q_std (B, 46) rad from the normal matrix (wide where the keypoints do not tell), and what the fit
    was held to, anchor_q (B, 46) and anchor_betas (B, 10).
    """

    q: Tensor
    betas: Tensor
    cam_t: Tensor
    kp2d_error: Tensor
    iterations: Tensor
    q_std: Tensor
    anchor_q: Tensor
    anchor_betas: Tensor


class Problem(NamedTuple):
    """The terms of B people, their start x (B, 59), and what the result reports: keypoints, anchor_q, anchor_betas."""

    terms: ImageObjective
    start: Tensor
    keypoints: Tensor
    anchor_q: Tensor
    anchor_betas: Tensor


class Skelify:
    """Fits people to 2D keypoints on the device of the model; results are in the model's dtype.

    >>> result = Skelify(load_skel(dtype=torch.float64)).fit(keypoints, q, betas, cam_t)
    """

    def __init__(self, model: Skel, config: SkelifyConfig | None = None):
        self.model, self.config, self._solver = model, config or SkelifyConfig(), in_solver_dtype(model)
        model = self._solver
        self.orientation = PelvisOrientation(model.rig)
        low, high = (torch.as_tensor(limit, dtype=model.dtype, device=model.device) for limit in q_limits())
        self._limits, self._bounds = (low, high), self._search_range()
        self._reach = ((high - low) / 1.5).clamp_max(1.0)

    @property
    def bounds(self) -> Bounds:
        """Where the search may go (59,): the joint limits and plausible shapes, or anywhere with the published one."""
        return self._bounds

    @property
    def anchor_std(self) -> Float[Tensor, "46"]:
        """How far a labelled person's q may lie from the anchor, one standard deviation, rad; in the model's dtype."""
        std = self.config.anchor_std * self._reach
        std = torch.cat([torch.full_like(std[:N_UNLIMITED], self.config.orientation_std), std[N_UNLIMITED:]])
        return std.to(self.model.dtype)

    def _search_range(self) -> Bounds:
        bounds = fit_bounds(self._solver.rig.sources)
        if self.config.objective == "robust":
            return bounds
        free = torch.full_like(bounds.low, torch.inf)
        return Bounds(-free, free)

    def fit(
        self,
        keypoints: Float[Tensor, "B 44 3"],
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        cam_t: Float[Tensor, "B 3"],
        anchor: Anchor | None = None,
        keypoints_3d: Float[Tensor, "B 44 4"] | None = None,
    ) -> SkelifyResult:
        """Refine a guess. keypoints: crop units and confidence; below 0.3 or not finite counts as absent.

        keypoints_3d: m in camera axes and confidence, absent likewise; people without keypoint 39 have none.

        anchor: what pose and shape are held to, the guess itself when not given. Give the anchor of an earlier fit
        when its result is the guess: holding to the result would count the same keypoints twice.

        Raises ValueError when shapes disagree. A person whose start is not finite comes back not finite.
        """
        problem = self.problem(keypoints, q, betas, cam_t, anchor, keypoints_3d)
        return self._report(self._lowest(problem.terms, problem.start), problem)

    def problem(
        self,
        keypoints: Float[Tensor, "B 44 3"],
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        cam_t: Float[Tensor, "B 3"],
        anchor: Anchor | None = None,
        keypoints_3d: Float[Tensor, "B 44 4"] | None = None,
    ) -> Problem:
        """What `fit` minimises for its arguments, and from where."""
        keypoints, q, betas, cam_t = (self._own(x) for x in (keypoints, q, betas, cam_t))
        points_3d = keypoints.new_zeros(len(q), 44, 4) if keypoints_3d is None else self._own(keypoints_3d)
        self._check(keypoints, q, betas, cam_t, points_3d)
        held_q, mean_pose, held_betas = anchor or Anchor(q, torch.zeros(len(q), dtype=torch.bool))
        held_q, held_betas = self._own(held_q), betas if held_betas is None else self._own(held_betas)
        start = self._pack(q, betas, cam_t)
        held = torch.cat([held_q, held_betas], 1)
        terms = self._objective(keypoints, points_3d, start, held, mean_pose.to(q.device))
        return Problem(terms, start, keypoints, held_q, held_betas)

    def fit_from_mean_pose(
        self, keypoints: Float[Tensor, "B 44 3"], keypoints_3d: Float[Tensor, "B 44 4"] | None = None
    ) -> SkelifyResult:
        """Fit people without a label: from the mean pose, upright and folded, seen from four sides."""
        keypoints = self._own(keypoints)
        seen = self._turned(torch.stack([mean_q(), folded_q()]))
        people, sides = len(keypoints), len(seen)
        points_3d = keypoints.new_zeros(people, 44, 4) if keypoints_3d is None else self._own(keypoints_3d)
        q = seen.repeat(people, 1)
        repeated = keypoints.repeat_interleave(sides, 0)
        betas = q.new_zeros(len(q), N_BETAS)
        q = self._rolled_like(repeated, q)
        cam_t = rough_camera(self._solver.keypoints(q, betas), repeated)
        start = self._pack(q, betas, cam_t)
        mean_pose = torch.ones(len(q), dtype=torch.bool, device=q.device)
        terms = self._objective(
            repeated, points_3d.repeat_interleave(sides, 0), start, torch.cat([q, betas], 1), mean_pose
        )
        found = self._anneal(terms, start, self._kernel_scales(far=True))
        best = found.cost.nan_to_num(torch.inf).reshape(people, sides).argmin(1)
        best = best + torch.arange(people, device=best.device) * sides
        spent = found.iterations.reshape(people, sides).sum(1)
        chosen = replace(found.rows(best), iterations=spent)
        return self._report(chosen, Problem(terms.of(best), start[best], keypoints, q[best], betas[best]))

    def _own(self, x: Tensor) -> Tensor:
        return x.to(device=self._solver.device, dtype=self._solver.dtype)

    def _check(self, keypoints: Tensor, q: Tensor, betas: Tensor, cam_t: Tensor, points_3d: Tensor) -> None:
        people = len(keypoints)
        expected = ((people, 44, 3), (people, N_Q), (people, N_BETAS), (people, 3), (people, 44, 4))
        got = tuple(tuple(x.shape) for x in (keypoints, q, betas, cam_t, points_3d))
        if got != expected:
            raise ValueError(f"keypoints, q, betas, cam_t, keypoints_3d must have shapes {expected}, got {got}")

    def _pack(self, q: Tensor, betas: Tensor, cam_t: Tensor) -> Tensor:
        return torch.cat([q, betas, cam_t[:, :2], torch.log(cam_t[:, 2:])], 1)

    def _kernel_scales(self, far: bool = False) -> tuple[float, ...]:
        """One per pass; `far`: from the mean pose."""
        if self.config.objective == "hsmr":
            return (KERNEL_SCALE,)
        scales = self.config.coarse_kernel_scale, self.config.kernel_scale
        return (self.config.far_kernel_scale, *scales) if far else scales

    def _lowest(self, terms: ImageObjective, start: Tensor) -> Estimate:
        """One start is enough for the robust objective: its annealing leaves next to nothing to win."""
        if self.config.objective == "robust":
            return self._anneal(terms, start, self._kernel_scales())
        fine = self._fine(KERNEL_SCALE)
        search = replace(fine, stop=replace(fine.stop, relative_tolerance=1e-3))
        last = replace(fine, stop=replace(fine.stop, initial_damping=1e-5))  # it starts near its end
        passes = restarts.Passes((fine,), (self._coarse(KERNEL_SCALE),), (search,), (last,))
        return restarts.lowest(terms, start, self._solve, passes, self.config.restart_above)

    def _anneal(self, terms: ImageObjective, start: Tensor, scales: tuple[float, ...]) -> Estimate:
        """Graduated non-convexity: a wide kernel first, so that far keypoints pull until the body is near them."""
        return self._solve(terms, start, self._stages(scales))

    def _solve(self, terms: ImageObjective, start: Tensor, stages: tuple[Stage, ...]) -> Estimate:
        if start.is_cuda:
            return Estimate.of(self._anneal_in_torch(terms, start, stages))
        tables, threads = self._solver.keypoint_operator.tables, torch.get_num_threads()
        return solve(start, terms.targets(), stages, self.orientation, self.bounds, tables, threads)

    def _stages(self, scales: tuple[float, ...]) -> tuple[Stage, ...]:
        """All passes but the last only prepare a start, so they stop early: half the evaluations, the same result."""
        return (*(self._coarse(scale) for scale in scales[:-1]), self._fine(scales[-1]))

    def _coarse(self, scale: float) -> Stage:
        iterations = self.config.coarse_iterations
        return Stage(scale, LmConfig(max_iterations=iterations, relative_tolerance=1e-2, initial_damping=1e-4))

    def _fine(self, scale: float) -> Stage:
        to = 1e-5 if self.config.objective == "robust" else 1e-7  # the published one is fitted to be compared
        iterations = self.config.max_iterations
        return Stage(scale, LmConfig(max_iterations=iterations, relative_tolerance=to, initial_damping=1e-4))

    def _anneal_in_torch(self, terms: ImageObjective, start: Tensor, stages: tuple[Stage, ...]) -> Minimum:
        """The same passes as batched tensor operations, for the GPU."""
        found, spent = self._minimise(terms, start, stages[0]), 0
        for stage in stages[1:]:
            spent = spent + found.iterations
            found = self._minimise(terms, found.x, stage)
        return Minimum(found.x, found.cost, found.normal, spent + found.iterations)

    def _minimise(self, terms: ImageObjective, start: Tensor, stage: Stage) -> Minimum:
        def evaluate(x: Tensor, people: Tensor) -> Linearised:
            return self.linearise(x, terms.of(people), stage.kernel_scale)

        return minimise(evaluate, self.orientation.retract, start, stage.stop, self.bounds)

    def linearise(self, x: Float[Tensor, "A 59"], terms: ImageObjective, kernel_scale: float) -> Linearised:
        """The objective of A people at x."""
        return linearise(self._solver, self.orientation, x, terms, kernel_scale)

    def evaluate(self, x: Float[Tensor, "A 59"], terms: ImageObjective) -> Linearised:
        """`linearise` at the last pass's kernel scale; on the CPU in the compiled loop."""
        if x.is_cuda:
            return self.linearise(x, terms, self.config.kernel_scale)
        tables, threads = self._solver.keypoint_operator.tables, torch.get_num_threads()
        return linearise_people(x, terms.targets(), self.config.kernel_scale, self.orientation, tables, threads)

    def _objective(
        self, keypoints: Tensor, points_3d: Tensor, start: Tensor, held: Tensor, mean_pose: Tensor
    ) -> ImageObjective:
        """held (B, 56): the q and betas that the people are held to; mean_pose (B,): where that q is the mean pose."""
        if self.config.objective == "hsmr":
            return self._published(keypoints, start)
        config = self.config
        hold = torch.where(mean_pose, config.unlabelled_anchor_std, config.anchor_std)
        std = torch.empty_like(start)
        std[:, :N_Q] = hold[:, None] * self._reach
        std[:, :N_UNLIMITED] = config.orientation_std
        std[:, N_Q:CAM] = config.betas_std
        std[:, CAM:] = start.new_tensor([torch.inf, torch.inf, config.depth_std])
        places_3d, weight_3d = self._space_targets(points_3d)
        return ImageObjective(
            kernel=Kernel.IMAGE,
            position=usable_places(keypoints),
            weight=usable_confidence(keypoints) / config.keypoint_noise**2,
            unit=torch.ones_like(start[:, 0]),
            points_3d=places_3d,
            weight_3d=weight_3d,
            kernel_3d=config.keypoint_3d_kernel,
            anchor=torch.cat([held, start[:, CAM:]], 1),
            precision=std**-2,
            range_pull=0.0,
            joint_limits=self._limits,
        )

    def _space_targets(self, points_3d: Tensor) -> tuple[Tensor, Tensor]:
        """Places relative to keypoint 39 (B, 44, 3) m and their weights (B, 44, 3); (B, 0, 3) when nobody has any."""
        confidence = usable_confidence(points_3d)
        confidence = confidence * (confidence[:, PELVIS : PELVIS + 1] > 0)
        if not (confidence > 0).any():
            return points_3d[:, :0, :3], points_3d[:, :0, :3]
        places = usable_places(points_3d)
        across, along = self.config.keypoint_3d_noise, self.config.keypoint_3d_depth_noise
        weight = confidence[..., None] * confidence.new_tensor([across, across, along]) ** -2
        return places - places[:, PELVIS : PELVIS + 1], weight

    def _published(self, keypoints: Tensor, start: Tensor) -> ImageObjective:
        torso = torso_length(keypoints)
        precision = torch.zeros_like(start)
        precision[:, N_Q:CAM] = SHAPE_WEIGHT
        return ImageObjective(
            kernel=Kernel.IMAGE_PER_AXIS,
            position=torch.nan_to_num(keypoints[..., :2], 0.0, 0.0, 0.0),
            weight=squared_confidence(keypoints) / torso[:, None] ** 2,
            unit=torso,
            points_3d=keypoints[:, :0],
            weight_3d=keypoints[:, :0],
            kernel_3d=1.0,
            anchor=torch.zeros_like(start),
            precision=precision,
            range_pull=ANGLE_WEIGHT / (N_Q - N_UNLIMITED),
            joint_limits=self._limits,
        )

    def result(self, found: Minimum, problem: Problem) -> SkelifyResult:
        """What a minimum of the problem, found elsewhere, says of its people."""
        return self._report(Estimate.of(found), problem)

    def _report(self, found: Estimate, problem: Problem) -> SkelifyResult:
        q, betas, cam_t = found.x[:, :N_Q], found.x[:, N_Q:CAM], cam_t_of(found.x)
        error = kp2d_error(project(self._solver.keypoints(q, betas), cam_t), problem.keypoints)
        std = q_standard_deviation(self._in_standard_deviations(found, problem.terms), self.orientation)
        q, betas, cam_t, error, std, *held = (
            x.to(self.model.dtype) for x in (q, betas, cam_t, error, std, problem.anchor_q, problem.anchor_betas)
        )
        return SkelifyResult(q, betas, cam_t, error, found.iterations, std, *held)

    def _in_standard_deviations(self, found: Estimate, terms: ImageObjective) -> Estimate:
        """The published objective counts torso lengths: its variances are taken to the keypoint noise."""
        if self.config.objective == "robust":
            return found
        factor = (self.config.keypoint_noise / terms.unit).square()[:, None]
        return replace(found, variance=found.variance * factor, spin=found.spin * factor[..., None])

    def _turned(self, q: Tensor) -> Tensor:
        """Each pose (P, 46) facing four ways: (4 P, 46)."""
        q = self._own(q).repeat(len(_YAWS), 1)
        up = torch.zeros_like(q[:, :3])
        up[:, 1] = torch.deg2rad(q.new_tensor(_YAWS)).repeat_interleave(len(q) // len(_YAWS))
        return torch.cat([self.orientation.turned(q, up), q[:, N_UNLIMITED:]], 1)

    def _rolled_like(self, keypoints: Tensor, q: Tensor) -> Tensor:
        """Turn people in the image plane as the keypoints lie, by the Procrustes angle of the points both have."""
        points = self._solver.keypoints(q, torch.zeros_like(q[:, :N_BETAS]))[..., :2]
        weight = usable_confidence(keypoints)[..., None]
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
        target = usable_places(keypoints)
        a, b = points - (points * weight).sum(1, keepdim=True), target - (target * weight).sum(1, keepdim=True)
        sine = (weight[..., 0] * (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])).sum(1)
        cosine = (weight * a * b).sum((1, 2))
        spin = torch.zeros_like(q[:, :3])
        spin[:, 2] = torch.atan2(sine, cosine)
        return torch.cat([self.orientation.turned(q, spin), q[:, N_UNLIMITED:]], 1)
