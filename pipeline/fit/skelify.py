"""SKELify: q, betas and camera from 2D keypoints and an initial guess, one independent problem per person (SPEC 4).

The robust objective, in units of squared standard deviations:
  sum_k c_k rho(|project(X_k) - keypoint_k| / noise)   Geman-McClure, with the scale of real keypoint noise
+ |(q - q_anchor) / anchor_std|^2                      holds what the keypoints do not see
+ |betas / betas_std|^2 + (log tz / tz_start)^2 / depth_std^2
inside the joint limits, which bound the search: no label ever leaves them.
The pelvis moves by spin vectors, so lying and upside-down people are no special case.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.rotations import skew
from pipeline.body.skel import Skel
from pipeline.camera import project, projection_jacobian, rough_camera
from pipeline.fit.compiled_solver import Stage, Targets, solve
from pipeline.fit.joint_limits import fit_bounds
from pipeline.fit.mean_pose import folded_q, mean_q
from pipeline.fit.orientation import PelvisOrientation
from pipeline.fit.posterior import q_standard_deviation
from pipeline.fit.solver_dtype import in_solver_dtype
from pipeline.keypoint_error import kp2d_error, usable_confidence, usable_places
from pipeline.levenberg_marquardt import Linearised, LmConfig, Minimum, minimise
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED, q_limits

_CAM = N_Q + N_BETAS  # x = q (46), betas (10), tx, ty, log tz
_YAWS = (0.0, 90.0, 180.0, 270.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SkelifyConfig:
    """Weights of the robust objective, each the standard deviation of what it holds."""

    keypoint_noise: float = 0.008  # crop units: 2 px of the 256 crop
    kernel_scale: float = 0.02  # crop units; a keypoint this far off has half its pull left
    coarse_kernel_scale: float = 0.1  # crop units, of the first pass, while the start is still far off
    far_kernel_scale: float = 1.0  # crop units, of a first pass for people who start from the mean pose
    anchor_std: float = 0.2  # rad, joint angle to the start; less for joints with a small range
    orientation_std: float = 0.25  # rad, pelvis to the start
    unlabelled_anchor_std: float = 0.5  # rad, joint angle to the mean pose for people without a label
    betas_std: float = 1.0
    depth_std: float = 0.3  # of log depth
    coarse_iterations: int = 10
    max_iterations: int = 30


class Anchor(NamedTuple):
    """What a pose is held to: q (B, 46) rad; mean_pose (B,) bool where that is the mean pose, which holds less."""

    q: Tensor
    mean_pose: Tensor


class SkelifyResult(NamedTuple):
    """One value per person: q (B, 46) rad, betas (B, 10), cam_t (B, 3) m, kp2d_error (B,) crop units under this camera,
    iterations (B,), q_std (B, 46) rad from the normal matrix (wide where the keypoints do not tell), anchor_q (B, 46).
    """

    q: Tensor
    betas: Tensor
    cam_t: Tensor
    kp2d_error: Tensor
    iterations: Tensor
    q_std: Tensor
    anchor_q: Tensor


@dataclass(frozen=True)
class _Problem:
    """What stays fixed during a fit: targets (B, 44, 2), confidence (B, 44), the anchor of all unknowns (B, 59) and its
    precision (B, 59).
    """

    target: Tensor
    confidence: Tensor
    anchor: Tensor
    precision: Tensor

    def of(self, people: Tensor) -> "_Problem":
        return _Problem(self.target[people], self.confidence[people], self.anchor[people], self.precision[people])


class Skelify:
    """Fits people to 2D keypoints on the device of the model; results are in the model's dtype.

    >>> result = Skelify(load_skel(dtype=torch.float64)).fit(keypoints, q, betas, cam_t)
    """

    def __init__(self, model: Skel, config: SkelifyConfig | None = None):
        self.model, self.config, self._solver = model, config or SkelifyConfig(), in_solver_dtype(model)
        model = self._solver
        self._orientation = PelvisOrientation(model.rig)
        low, high = (torch.as_tensor(limit, dtype=model.dtype, device=model.device) for limit in q_limits())
        self._bounds = fit_bounds(model.rig.sources)
        self._reach = ((high - low) / 1.5).clamp_max(1.0)

    def fit(
        self,
        keypoints: Float[Tensor, "B 44 3"],
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        cam_t: Float[Tensor, "B 3"],
        anchor: Anchor | None = None,
    ) -> SkelifyResult:
        """Refine a guess. keypoints: crop units and confidence; below 0.3 or not finite counts as absent.

        anchor: what the pose is held to, the guess itself when not given. Give the anchor of an earlier fit when its
        result is the guess: holding to the result would count the same keypoints twice.

        Raises ValueError when shapes disagree. A person whose start is not finite comes back not finite.
        """
        keypoints, q, betas, cam_t = (self._own(x) for x in (keypoints, q, betas, cam_t))
        self._check(keypoints, q, betas, cam_t)
        anchor = anchor or Anchor(q, torch.zeros(len(q), dtype=torch.bool))
        start = self._pack(q, betas, cam_t)
        problem = self._problem(keypoints, start, Anchor(self._own(anchor.q), anchor.mean_pose.to(q.device)))
        return self._result(self._anneal(problem, start, self._kernel_scales()), problem, keypoints)

    def fit_from_mean_pose(self, keypoints: Float[Tensor, "B 44 3"]) -> SkelifyResult:
        """Fit people without a label: from the mean pose, upright and folded, seen from four sides."""
        keypoints = self._own(keypoints)
        seen = self._turned(torch.stack([mean_q(), folded_q()]))
        people, sides = len(keypoints), len(seen)
        q = seen.repeat(people, 1)
        repeated = keypoints.repeat_interleave(sides, 0)
        betas = q.new_zeros(len(q), N_BETAS)
        q = self._rolled_like(repeated, q)
        cam_t = rough_camera(self._solver.keypoints(q, betas), repeated)
        start = self._pack(q, betas, cam_t)
        problem = self._problem(repeated, start, Anchor(q, torch.ones(len(q), dtype=torch.bool, device=q.device)))
        found = self._anneal(problem, start, (self.config.far_kernel_scale, *self._kernel_scales()))
        best = found.cost.nan_to_num(torch.inf).reshape(people, sides).argmin(1)
        best = best + torch.arange(people, device=best.device) * sides
        spent = found.iterations.reshape(people, sides).sum(1)
        chosen = Minimum(found.x[best], found.cost[best], found.normal[best], spent)
        return self._result(chosen, problem.of(best), keypoints)

    def _own(self, x: Tensor) -> Tensor:
        return x.to(device=self._solver.device, dtype=self._solver.dtype)

    def _check(self, keypoints: Tensor, q: Tensor, betas: Tensor, cam_t: Tensor) -> None:
        people = len(keypoints)
        expected = ((people, 44, 3), (people, N_Q), (people, N_BETAS), (people, 3))
        got = tuple(tuple(x.shape) for x in (keypoints, q, betas, cam_t))
        if got != expected:
            raise ValueError(f"keypoints, q, betas, cam_t must have shapes {expected}, got {got}")

    def _pack(self, q: Tensor, betas: Tensor, cam_t: Tensor) -> Tensor:
        return torch.cat([q, betas, cam_t[:, :2], torch.log(cam_t[:, 2:])], 1)

    def _kernel_scales(self) -> tuple[float, float]:
        return self.config.coarse_kernel_scale, self.config.kernel_scale

    def _anneal(self, problem: _Problem, start: Tensor, scales: tuple[float, ...]) -> Minimum:
        """Graduated non-convexity: a wide kernel first, so that far keypoints pull until the body is near them."""
        if start.is_cuda:
            return self._anneal_in_torch(problem, start, scales)
        iterations = [self.config.coarse_iterations] * (len(scales) - 1) + [self.config.max_iterations]
        stages = tuple(Stage(scale, LmConfig(max_iterations=n)) for scale, n in zip(scales, iterations, strict=True))
        pull = problem.confidence / self.config.keypoint_noise**2
        tensors = (problem.target, pull, problem.anchor, problem.precision)
        targets = Targets(*(x.contiguous().numpy() for x in tensors))
        kernel = self._solver.keypoint_operator.kernel
        found = solve(
            start.numpy(), targets, stages, self._orientation, self._bounds, kernel, threads=torch.get_num_threads()
        )
        return Minimum(*(torch.from_numpy(x) for x in (found.x, found.cost, found.normal, found.iterations)))

    def _anneal_in_torch(self, problem: _Problem, start: Tensor, scales: tuple[float, ...]) -> Minimum:
        """The same passes as batched tensor operations, for the GPU."""
        x, spent = start, torch.zeros(len(start), dtype=torch.int64, device=start.device)
        for scale in scales[:-1]:
            coarse = self._minimise(problem, x, scale, self.config.coarse_iterations)
            x, spent = coarse.x, spent + coarse.iterations
        fine = self._minimise(problem, x, scales[-1], self.config.max_iterations)
        return Minimum(fine.x, fine.cost, fine.normal, spent + fine.iterations)

    def _problem(self, keypoints: Tensor, start: Tensor, anchor: Anchor) -> _Problem:
        config = self.config
        hold = torch.where(anchor.mean_pose, config.unlabelled_anchor_std, config.anchor_std)
        std = torch.empty_like(start)
        std[:, :N_Q] = hold[:, None] * self._reach
        std[:, :N_UNLIMITED] = config.orientation_std
        std[:, N_Q:_CAM] = config.betas_std
        std[:, _CAM:] = start.new_tensor([torch.inf, torch.inf, config.depth_std])
        center = torch.cat([anchor.q, torch.zeros_like(start[:, N_Q:_CAM]), start[:, _CAM:]], 1)
        return _Problem(usable_places(keypoints), usable_confidence(keypoints), center, std**-2)

    def _minimise(self, problem: _Problem, start: Tensor, scale: float, iterations: int) -> Minimum:
        def evaluate(x: Tensor, people: Tensor) -> Linearised:
            return self._evaluate(x, problem.of(people), scale)

        return minimise(evaluate, self._retract, start, LmConfig(max_iterations=iterations), self._bounds)

    def _retract(self, x: Tensor, step: Tensor) -> Tensor:
        moved = x + step
        return torch.cat([self._orientation.turned(x[:, :N_Q], step[:, :3]), moved[:, 3:]], 1)

    def _cam_t(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, _CAM : _CAM + 2], torch.exp(x[:, _CAM + 2 :].clamp(-3, 8))], 1)

    def _evaluate(self, x: Tensor, problem: _Problem, scale: float) -> Linearised:
        residual, jacobian = self._reprojection(x, problem.target)
        squared = residual.square().sum(-1)
        half = scale**2 / (scale**2 + squared)
        pull = problem.confidence / self.config.keypoint_noise**2
        weighted = (jacobian * (pull * half**2)[..., None, None]).flatten(1, 2)
        gradient = (weighted.mT @ residual.flatten(1)[..., None]).squeeze(-1)
        normal = weighted.mT @ jacobian.flatten(1, 2)
        data = Linearised((pull * half * squared).sum(-1), gradient, normal)
        return self._with_priors(data, x, problem)

    def _reprojection(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (A, 44, 2) in crop units and their Jacobian (A, 44, 2, 59) in (spin, q[3:], betas, cam)."""
        q, betas, cam_t = x[:, :N_Q], x[:, N_Q:_CAM], self._cam_t(x)
        points, by_q, by_betas = self._solver.keypoints_and_jacobian(q, betas)
        pivot = self._solver.rig.joint_template[0] + betas @ self._solver.rig.joint_dirs[0].mT
        by_spin = -skew(points - pivot[:, None])
        slope = projection_jacobian(points, cam_t)
        body = slope @ torch.cat([by_spin, by_q[..., N_UNLIMITED:], by_betas], -1)
        by_cam = torch.cat([slope[..., :2], slope[..., 2:] * cam_t[:, None, None, 2:]], -1)
        return project(points, cam_t) - target, torch.cat([body, by_cam], -1)

    def _with_priors(self, data: Linearised, x: Tensor, problem: _Problem) -> Linearised:
        """Add the anchor, shape and depth terms: all of them diagonal in the unknowns."""
        turned = self._orientation.between(x[:, :N_Q], problem.anchor[:, :N_Q])
        away = torch.cat([turned, (x - problem.anchor)[:, N_UNLIMITED:]], 1)
        pull = problem.precision * away
        normal = data.normal + torch.diag_embed(problem.precision)
        return Linearised(data.cost + (pull * away).sum(-1), data.gradient + pull, normal)

    def _result(self, found: Minimum, problem: _Problem, keypoints: Tensor) -> SkelifyResult:
        q, betas, cam_t = found.x[:, :N_Q], found.x[:, N_Q:_CAM], self._cam_t(found.x)
        error = kp2d_error(project(self._solver.keypoints(q, betas), cam_t), keypoints)
        std = q_standard_deviation(found, self._orientation)
        result = SkelifyResult(q, betas, cam_t, error, found.iterations, std, problem.anchor[:, :N_Q])
        return SkelifyResult(*(x.to(self.model.dtype) if x.is_floating_point() else x for x in result))

    def _turned(self, q: Tensor) -> Tensor:
        """Each pose (P, 46) facing four ways: (4 P, 46)."""
        q = self._own(q).repeat(len(_YAWS), 1)
        up = torch.zeros_like(q[:, :3])
        up[:, 1] = torch.deg2rad(q.new_tensor(_YAWS)).repeat_interleave(len(q) // len(_YAWS))
        return torch.cat([self._orientation.turned(q, up), q[:, N_UNLIMITED:]], 1)

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
        return torch.cat([self._orientation.turned(q, spin), q[:, N_UNLIMITED:]], 1)
