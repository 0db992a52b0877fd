"""SKELify: q, betas and camera from 2D keypoints and an initial guess, one independent problem per person.

What is minimised, docs/objectives.md and `pipeline.fit.objectives` say: the robust objective, or the published one with
objective=hsmr.
The pelvis moves by spin vectors, so lying and upside-down people are no special case.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.objectives.objective import Held, Objective, Seen
from pipeline.fit.objectives.opinion import Opinion
from pipeline.fit.objectives.published_objective import PublishedObjective
from pipeline.fit.objectives.robust_objective import RobustObjective, labelled_anchor_std
from pipeline.fit.objectives.skelify_config import ObjectiveName, SkelifyConfig
from pipeline.fit.solver.compiled_linearise import linearise_people
from pipeline.fit.solver.compiled_solver import Stage, solve
from pipeline.fit.solver.image_objective import CAM, ImageObjective, cam_t_of, linearise
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.fit.solver.posterior import Estimate, q_standard_deviation
from pipeline.fit.solver.solver_dtype import in_solver_dtype
from pipeline.fit.starts.sides import facing_four_ways, rolled_like
from pipeline.fit.starts.start_poses import start_poses
from pipeline.image.camera import focal_of, project, rough_camera
from pipeline.image.keypoint_error import kp2d_error
from pipeline.numerics.levenberg_marquardt import Bounds, Linearised, Minimum, minimise
from schemas.skel import N_BETAS, N_Q

_OBJECTIVES: Final[dict[ObjectiveName, type[RobustObjective | PublishedObjective]]] = {
    "robust": RobustObjective,
    "hsmr": PublishedObjective,
}

_PURSUED: Final = 6
"""Tries of a person without a label that go on after the first pass."""


class Anchor(NamedTuple):
    """What people are held to: q (B, 46) rad; mean_pose (B,) bool where that is the mean pose or another that nobody
    said is theirs, which holds less; betas (B, 10), those of the guess when not given; prediction: what a network says
    of them besides; depth (B,) m, that of the guess when not given.
    """

    q: Float[Tensor, "B 46"]
    mean_pose: Bool[Tensor, "B"]
    betas: Float[Tensor, "B 10"] | None = None
    prediction: Opinion | None = None
    depth: Float[Tensor, "B"] | None = None


class SkelifyResult(NamedTuple):
    """One value per person: q (B, 46) rad, betas (B, 10), cam_t (B, 3) m, kp2d_error (B,) crop units under this camera,
    iterations (B,), q_std (B, 46) rad from the normal matrix (wide where the keypoints do not tell), and what the fit
    was held to, anchor_q (B, 46) and anchor_betas (B, 10); cost (B,): the objective's least value.
    """

    q: Float[Tensor, "B 46"]
    betas: Float[Tensor, "B 10"]
    cam_t: Float[Tensor, "B 3"]
    kp2d_error: Float[Tensor, "B"]
    iterations: Int[Tensor, "B"]
    q_std: Float[Tensor, "B 46"]
    anchor_q: Float[Tensor, "B 46"]
    anchor_betas: Float[Tensor, "B 10"]
    cost: Float[Tensor, "B"]


class Problem(NamedTuple):
    """The terms of B people, their start x (B, 59), and what the result reports: keypoints, anchor_q, anchor_betas."""

    terms: ImageObjective
    start: Float[Tensor, "B 59"]
    keypoints: Float[Tensor, "B 44 3"]
    anchor_q: Float[Tensor, "B 46"]
    anchor_betas: Float[Tensor, "B 10"]


class Skelify:
    """Fits people to 2D keypoints on the device of the model; results are in the model's dtype.

    >>> result = Skelify(load_skel(dtype=torch.float64)).fit(keypoints, q, betas, cam_t)
    """

    def __init__(self, model: Skel, config: SkelifyConfig | None = None):
        self.model, self.config, self._solver = model, config or SkelifyConfig(), in_solver_dtype(model)
        self.orientation = PelvisOrientation(self._solver.rig)
        self._objective: Objective = _OBJECTIVES[self.config.objective](self.config, self._solver.rig.sources)

    @property
    def bounds(self) -> Bounds:
        """Where the search may go (59,): the joint limits and plausible shapes, or anywhere with the published one."""
        return self._objective.bounds

    @property
    def anchor_std(self) -> Float[Tensor, "46"]:
        """How far a labelled person's q may lie from the anchor, one standard deviation, rad; in the model's dtype."""
        return labelled_anchor_std(self.config, self._solver.rig.sources).to(self.model.dtype)

    def fit(
        self,
        keypoints: Float[Tensor, "B 44 3"],
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        cam_t: Float[Tensor, "B 3"],
        anchor: Anchor | None = None,
        keypoints_3d: Float[Tensor, "B 44 4"] | None = None,
        focal: Float[Tensor, "B"] | None = None,
    ) -> SkelifyResult:
        """Refine a guess. keypoints: crop units and confidence; below 0.3 or not finite counts as absent.

        keypoints_3d: m in camera axes and confidence, absent likewise; people without keypoint 39 have none.

        focal: length in crop units, that of cam_t too; FOCAL for everyone when not given.

        anchor: what pose and shape are held to, the guess itself when not given. Give the anchor of an earlier fit
        when its result is the guess: holding to the result would count the same keypoints twice.

        Raises ValueError when shapes disagree. A person whose start is not finite comes back not finite.
        """
        problem = self.problem(keypoints, q, betas, cam_t, anchor, keypoints_3d, focal)
        return self._report(self._objective.lowest(problem.terms, problem.start, self._solve), problem)

    def problem(
        self,
        keypoints: Float[Tensor, "B 44 3"],
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        cam_t: Float[Tensor, "B 3"],
        anchor: Anchor | None = None,
        keypoints_3d: Float[Tensor, "B 44 4"] | None = None,
        focal: Float[Tensor, "B"] | None = None,
    ) -> Problem:
        """What `fit` minimises for its arguments, and from where."""
        keypoints, q, betas, cam_t = (self._own(x) for x in (keypoints, q, betas, cam_t))
        points_3d = keypoints.new_zeros(len(q), 44, 4) if keypoints_3d is None else self._own(keypoints_3d)
        focal = self._own(focal_of(focal, keypoints))
        self._check(keypoints, q, betas, cam_t, points_3d, focal)
        held_q, mean_pose, held_betas, prediction, depth = anchor or Anchor(q, torch.zeros(len(q), dtype=torch.bool))
        held_q, held_betas = self._own(held_q), betas if held_betas is None else self._own(held_betas)
        start = self._pack(q, betas, cam_t)
        opinion = None if prediction is None else Opinion(*(self._own(x) for x in prediction))
        depth = cam_t[:, 2] if depth is None else self._own(depth)
        held = Held(torch.cat([held_q, held_betas], 1), mean_pose.to(q.device), torch.log(depth), opinion)
        terms = self._objective.terms(Seen(keypoints, points_3d, focal), start, held)
        return Problem(terms, start, keypoints, held_q, held_betas)

    def fit_from_mean_pose(
        self,
        keypoints: Float[Tensor, "B 44 3"],
        keypoints_3d: Float[Tensor, "B 44 4"] | None = None,
        focal: Float[Tensor, "B"] | None = None,
    ) -> SkelifyResult:
        """Fit people without a label: from the poses of `start_poses`, each seen from four sides and held to itself."""
        keypoints = self._own(keypoints)
        points_3d = keypoints.new_zeros(len(keypoints), 44, 4) if keypoints_3d is None else self._own(keypoints_3d)
        poses = facing_four_ways(self.orientation, self._own(start_poses(self._objective.starts)))
        tries = len(poses)
        repeated = keypoints.repeat_interleave(tries, 0)
        focal = self._own(focal_of(focal, keypoints)).repeat_interleave(tries, 0)
        q = poses.repeat(len(keypoints), 1)
        betas = q.new_zeros(len(q), N_BETAS)
        q = rolled_like(self.orientation, repeated, q, self._solver.keypoints(q, betas))
        start = self._pack(q, betas, rough_camera(self._solver.keypoints(q, betas), repeated, focal))
        held = Held(torch.cat([q, betas], 1), torch.ones(len(q), dtype=torch.bool, device=q.device), start[:, -1])
        terms = self._objective.terms(Seen(repeated, points_3d.repeat_interleave(tries, 0), focal), start, held)
        best, found = self._lowest_of(terms, start, tries)
        return self._report(found, Problem(terms.of(best), start[best], keypoints, q[best], betas[best]))

    def _lowest_of(self, terms: ImageObjective, start: Tensor, tries: int) -> tuple[Tensor, Estimate]:
        """Of each person's consecutive tries: the row of the best, and its minimum. Most tries that start amiss are
        seen to after the first pass, and only the better ones go on.
        """
        stages = self._stages(self._kernel_scales(far=True))
        if self._objective.starts == "mean_pose":
            found = self._solve(terms, start, stages)
            best = _lowest(found.cost, tries, 1)
            return best, replace(found.rows(best), iterations=found.iterations.reshape(-1, tries).sum(1))
        first = self._solve(terms, start, stages[:1])
        kept = _lowest(first.cost, tries, _PURSUED)
        found = self._solve(terms.of(kept), first.x[kept], stages[1:])
        best = _lowest(found.cost, _PURSUED, 1)
        spent = first.iterations.reshape(-1, tries).sum(1) + found.iterations.reshape(-1, _PURSUED).sum(1)
        return kept[best], replace(found.rows(best), iterations=spent)

    def _own(self, x: Tensor) -> Tensor:
        return x.to(device=self._solver.device, dtype=self._solver.dtype)

    def _check(
        self, keypoints: Tensor, q: Tensor, betas: Tensor, cam_t: Tensor, points_3d: Tensor, focal: Tensor
    ) -> None:
        people = len(keypoints)
        expected = ((people, 44, 3), (people, N_Q), (people, N_BETAS), (people, 3), (people, 44, 4), (people,))
        got = tuple(tuple(x.shape) for x in (keypoints, q, betas, cam_t, points_3d, focal))
        if got != expected:
            raise ValueError(f"keypoints, q, betas, cam_t, keypoints_3d, focal must have shapes {expected}, got {got}")

    def _pack(self, q: Tensor, betas: Tensor, cam_t: Tensor) -> Tensor:
        return torch.cat([q, betas, cam_t[:, :2], torch.log(cam_t[:, 2:])], 1)

    def _kernel_scales(self, far: bool = False) -> tuple[float, ...]:
        return self._objective.kernel_scales(far)

    def _stages(self, scales: tuple[float, ...]) -> tuple[Stage, ...]:
        return self._objective.stages(scales)

    def _solve(self, terms: ImageObjective, start: Tensor, stages: tuple[Stage, ...]) -> Estimate:
        if start.is_cuda:
            return Estimate.of(self._anneal_in_torch(terms, start, stages))
        tables, threads = self._solver.keypoint_operator.tables, torch.get_num_threads()
        return solve(start, terms.targets(), stages, self.orientation, self.bounds, tables, threads)

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
        scale = self._kernel_scales()[-1]
        if x.is_cuda:
            return self.linearise(x, terms, scale)
        tables, threads = self._solver.keypoint_operator.tables, torch.get_num_threads()
        return linearise_people(x, terms.targets(), scale, self.orientation, tables, threads)

    def result(self, found: Minimum, problem: Problem) -> SkelifyResult:
        """What a minimum of the problem, found elsewhere, says of its people."""
        return self._report(Estimate.of(found), problem)

    def _report(self, found: Estimate, problem: Problem) -> SkelifyResult:
        q, betas, cam_t = found.x[:, :N_Q], found.x[:, N_Q:CAM], cam_t_of(found.x)
        error = kp2d_error(project(self._solver.keypoints(q, betas), cam_t, problem.terms.focal), problem.keypoints)
        std = q_standard_deviation(self._objective.in_standard_deviations(found, problem.terms), self.orientation)
        held = problem.anchor_q, problem.anchor_betas
        result = SkelifyResult(q, betas, cam_t, error, found.iterations, std, *held, found.cost)
        dtype = self.model.dtype
        return SkelifyResult(*(x.to(dtype) if x.is_floating_point() else x for x in result))


def _lowest(cost: Tensor, tries: int, count: int) -> Int[Tensor, "..."]:
    """Rows of each person's `count` lowest costs among their consecutive tries, the lowest first."""
    order = cost.nan_to_num(torch.inf).reshape(-1, tries).argsort(dim=1, stable=True)[:, :count]
    return (order + tries * torch.arange(len(order), device=order.device)[:, None]).reshape(-1)
