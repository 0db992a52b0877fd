"""SKELify for video: one person over the frames of a track, with one shape and smooth motion.

  sum over frames of the per-frame objective of `Skelify`
+ sum_t h_t |a_t / acceleration_std|^2,  a_t the second derivative of q and camera over frame numbers, h_t the mean gap

The pelvis accelerates by spin vectors. Unknowns: 49 a frame and 10 betas for all. The normal matrix is block
pentadiagonal with a border: a banded Cholesky factorisation solves it in time linear in the number of frames.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded
from torch import Tensor

from pipeline.fit.image_objective import CAM
from pipeline.fit.skelify import Anchor, Problem, Skelify, SkelifyResult
from pipeline.levenberg_marquardt import Linearised, Minimum
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_OWN = [*range(N_Q), *range(CAM, CAM + 3)]
_N = len(_OWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackConfig:
    """Standard deviations of the acceleration, per frame of 1/60 s squared, and when to stop."""

    joint_acceleration_std: float = 0.02  # rad
    orientation_acceleration_std: float = 0.02  # rad
    camera_acceleration_std: float = 0.01  # m across the view, and of the log of the depth
    max_iterations: int = 20
    relative_tolerance: float = 1e-5


@dataclass(frozen=True)
class _Point:
    """A track at x (T, 59), betas equal in all rows: cost of everything, per-frame parts, acceleration (T - 2, 49)."""

    x: Tensor
    cost: float
    frames: Linearised
    acceleration: Array


@dataclass(frozen=True)
class _Smoothness:
    """Second differences D (T - 2, T) as their three diagonals, row weights h (T - 2,), precision (49,)."""

    frames: int
    stencil: Array
    weight: Array
    precision: Array

    def cost(self, acceleration: Array) -> float:
        return float((self.weight[:, None] * acceleration**2 * self.precision).sum())

    def gradient(self, acceleration: Array) -> Array:
        """D^T h a / std^2 (T, 49)."""
        pull = self.weight[:, None] * acceleration * self.precision
        total = np.zeros((self.frames, _N))
        for k in range(3):
            total[k : k + len(pull)] += self.stencil[k, :, None] * pull
        return total

    def bands(self) -> Array:
        """(3, T): main diagonal of D^T h D and the two beside it, padded with zeros at the end."""
        rows = len(self.weight)
        bands = np.zeros((3, self.frames))
        for k in range(3):
            for later in range(k, 3):
                bands[later - k, k : k + rows] += self.weight * self.stencil[k] * self.stencil[later]
        return bands


class TrackFit:
    """Fits whole tracks; a track is the independent unit, as a person is for `Skelify`.

    >>> result = TrackFit(Skelify(skel)).fit(keypoints, frames, q, betas, cam_t)   # T frames of one person
    """

    def __init__(self, skelify: Skelify, config: TrackConfig | None = None):
        self.skelify, self.config = skelify, config or TrackConfig()

    def fit(
        self,
        keypoints: Float[Tensor, "T 44 3"],
        frames: Float[Tensor, "T"],
        q: Float[Tensor, "T 46"],
        betas: Float[Tensor, "T 10"],
        cam_t: Float[Tensor, "T 3"],
        anchor: Anchor | None = None,
        keypoints_3d: Float[Tensor, "T 44 4"] | None = None,
    ) -> SkelifyResult:
        """Refine a guess for the frames of one track, in their order; arguments as of `Skelify.fit`.

        frames: when each was taken, ascending, in 60ths of a second where the frame rate is known, else frame numbers;
        what lies far apart hardly binds each other.
        The result has the same betas in every row. q_std is that of each frame alone, so it errs on the safe side.

        Raises ValueError when frames do not ascend or shapes disagree, and for the published objective.
        """
        times = self._times(frames, len(q))
        first = self.skelify.fit(keypoints, q, betas, cam_t, anchor, keypoints_3d)
        if len(q) == 0:
            return first
        problem = _with_shared_hold(self.skelify.problem(keypoints, q, betas, cam_t, anchor, keypoints_3d))
        start = self.skelify.problem(keypoints, first.q, first.betas, first.cam_t).start
        x = self._with_one_shape(start, first.q_std)
        found, spent = self._minimise(problem, x, _smoothness(times, self.config))
        evaluations = first.iterations + spent
        return self.skelify.result(Minimum(found.x, found.frames.cost, found.frames.normal, evaluations), problem)

    def _times(self, frames: Tensor, count: int) -> Array:
        if self.skelify.config.objective != "robust":
            raise ValueError("Tracks are fitted with objective=robust; the published objective knows no video.")
        times = frames.detach().cpu().numpy().astype(np.float64)
        if times.shape != (count,) or (np.diff(times) <= 0).any():
            raise ValueError(f"frames must be {count} ascending numbers, one a row: got {times.tolist()[:10]} ...")
        return times

    def _with_one_shape(self, start: Tensor, q_std: Tensor) -> Tensor:
        """Betas averaged over the frames, the well-known ones more."""
        weight = 1 / q_std.to(start).square().mean(1, keepdim=True)
        x = start.clone()
        x[:, N_Q:CAM] = (weight * start[:, N_Q:CAM]).sum(0) / weight.sum()
        return x

    def _minimise(self, problem: Problem, start: Tensor, smooth: _Smoothness) -> tuple[_Point, int]:
        """Levenberg-Marquardt with Nielsen's damping, as `minimise`, for one banded system."""
        at, damping, growth, spent = self._at(start, problem, smooth), 1e-4, 2.0, 1
        for _ in range(self.config.max_iterations):
            step, predicted = _step(at, smooth, damping, self._held(at, smooth))
            there = self._at(self._moved(at.x, step), problem, smooth)
            drop, spent = at.cost - there.cost, spent + 1
            done = predicted <= self.config.relative_tolerance * at.cost * 1e-3
            if drop > 0:
                done |= drop <= self.config.relative_tolerance * at.cost
                ratio = min(max(drop / max(predicted, 1e-300), -1.0), 2.0)
                at, damping, growth = there, damping * max(1 - (2 * ratio - 1) ** 3, 1 / 3), 2.0
            else:
                damping, growth = damping * growth, growth * 2
            if done or damping > 1e8 or not np.isfinite(at.cost):
                break
        return at, spent

    def _at(self, x: Tensor, problem: Problem, smooth: _Smoothness) -> _Point:
        frames = self.skelify.linearise(x, problem.terms, self.skelify.config.kernel_scale)
        acceleration = self._acceleration(x, smooth)
        return _Point(x, float(frames.cost.sum()) + smooth.cost(acceleration), frames, acceleration)

    def _acceleration(self, x: Tensor, smooth: _Smoothness) -> Array:
        """Second derivative (T - 2, 49) of (pelvis spin, q[3:], camera)."""
        spin = self.skelify.orientation.between(x[1:, :N_Q], x[:-1, :N_Q])
        rest = x[1:] - x[:-1]
        move = torch.cat([spin, rest[:, N_UNLIMITED:]], 1)[:, _OWN].cpu().numpy()
        return smooth.stencil[2][:, None] * move[1:] - smooth.stencil[0][:, None] * move[:-1]

    def _held(self, at: _Point, smooth: _Smoothness) -> Mask:
        """(T, 49) unknowns that sit at a bound and would leave it."""
        gradient = at.frames.gradient[:, _OWN].cpu().numpy() + smooth.gradient(at.acceleration)
        x = at.x[:, _OWN].cpu().numpy()
        low, high = (b[_OWN].cpu().numpy() for b in (self.skelify.bounds.low, self.skelify.bounds.high))
        return ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))

    def _moved(self, x: Tensor, step: tuple[Array, Array]) -> Tensor:
        whole = torch.zeros_like(x)
        whole[:, _OWN] = torch.as_tensor(step[0]).to(x)
        whole[:, N_Q:CAM] = torch.as_tensor(step[1]).to(x)
        return self.skelify.bounds.clamp(self.skelify.orientation.retract(x, whole))


def _smoothness(times: Array, config: TrackConfig) -> _Smoothness:
    before, after = np.diff(times)[:-1], np.diff(times)[1:]
    mean = (before + after) / 2
    stencil = np.stack([1 / (before * mean), -(1 / before + 1 / after) / mean, 1 / (after * mean)])
    std = np.full(_N, config.joint_acceleration_std)
    std[:N_UNLIMITED], std[N_Q:] = config.orientation_acceleration_std, config.camera_acceleration_std
    return _Smoothness(len(times), stencil, mean, std**-2)


def _with_shared_hold(problem: Problem) -> Problem:
    """The hold on the betas divided among the frames, so that it counts once for the track."""
    precision = problem.terms.precision.clone()
    precision[:, N_Q:CAM] /= len(precision)
    return problem._replace(terms=replace(problem.terms, precision=precision))


def _step(at: _Point, smooth: _Smoothness, damping: float, held: Mask) -> tuple[tuple[Array, Array], float]:
    """Damped step of (frames (T, 49), betas (10,)) and the drop in cost it predicts; zeros where nothing can be solved.

    Block elimination: the band of the frames is factorised once, for the step and for the border of the betas.
    """
    normal, gradient = at.frames.normal.cpu().numpy(), at.frames.gradient.cpu().numpy()
    own = gradient[:, _OWN] + smooth.gradient(at.acceleration)
    own[held] = 0
    shape_normal, shape_gradient = normal[:, N_Q:CAM, N_Q:CAM].sum(0), gradient[:, N_Q:CAM].sum(0)
    border = (normal[:, _OWN, N_Q:CAM] * ~held[..., None]).reshape(-1, N_BETAS)
    band = _band(normal, smooth, ~held)
    damped = band.copy()
    damped[0] *= 1 + damping
    try:
        factor = cholesky_banded(damped, lower=True, check_finite=False)
        right = np.column_stack([own.reshape(-1), border])
        solved = np.asarray(cho_solve_banded((factor, True), right, check_finite=False))
        complement = shape_normal + damping * np.diag(np.diag(shape_normal)) - border.T @ solved[:, 1:]
        betas = -np.linalg.solve(complement, shape_gradient - border.T @ solved[:, 0])
    except np.linalg.LinAlgError:
        return (np.zeros_like(own), np.zeros(N_BETAS)), 0.0
    frames = -(solved[:, 0] + solved[:, 1:] @ betas)
    curved = frames @ _banded_product(band, frames) + 2 * frames @ border @ betas + betas @ shape_normal @ betas
    predicted = -2 * (own.reshape(-1) @ frames + shape_gradient @ betas) - curved
    return (frames.reshape(own.shape), betas), float(predicted)


def _band(normal: Array, smooth: _Smoothness, free: Mask) -> Array:
    """Lower band (99, 49 T) of the frames' normal matrix; held unknowns keep only their diagonal.

    Only equal unknowns of neighbouring frames couple, so those blocks are diagonal: 49 and 98 below the main diagonal.
    """
    frames = len(normal)
    band = np.zeros((2 * _N + 1, frames, _N))
    row, column = np.tril_indices(_N)
    blocks = normal[:, _OWN][:, :, _OWN][:, row, column] * np.where(row == column, 1, free[:, row] & free[:, column])
    band[row - column, :, column] = blocks.T
    for apart, coupling in enumerate(smooth.bands()):
        both = free[: frames - apart] & free[apart:] if apart else np.ones_like(free)
        band[apart * _N, : frames - apart] += coupling[: frames - apart, None] * smooth.precision * both
    return band.reshape(2 * _N + 1, -1)


def _banded_product(band: Array, x: Array) -> Array:
    total = band[0] * x
    for k in range(1, len(band)):
        total[k:] += band[k, :-k] * x[:-k]
        total[:-k] += band[k, :-k] * x[k:]
    return total
