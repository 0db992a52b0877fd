"""SKELify for video: one person over the frames of a track, with one shape and smooth motion.

  sum over frames of the per-frame objective of `Skelify` + what `MotionPrior` asks of the accelerations of q and camera

The pelvis accelerates by spin vectors. Unknowns: 49 a frame and 10 betas for all. The prior's scales are learned from
the track between the first passes; `BandedNormal` solves each step in time linear in the number of frames.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from pipeline.fit.skelify import Anchor, Problem, Skelify, SkelifyResult
from pipeline.fit.solver.image_objective import CAM
from pipeline.fit.video.banded_normal import BandedNormal
from pipeline.fit.video.motion_prior import MotionPrior
from pipeline.numerics.levenberg_marquardt import Linearised, Minimum
from schemas.person import MAX_FPS, MIN_FPS
from schemas.skel import N_Q, N_UNLIMITED

Array = NDArray[np.floating]

_OWN = np.array([*range(N_Q), *range(CAM, CAM + 3)])
_SHARED = slice(N_Q, CAM)
_COARSE_ITERATIONS, _COARSE_TOLERANCE = 4, 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackConfig:
    """Frame rate where none is recorded, the guess that the motion's scales start from, and when to stop.

    The standard deviations are of the mean acceleration over 1/60 s. max_frames: a longer track is fitted in parts of
    at most so many frames, since memory grows with them (docs/performance.md).
    """

    fps: float = 30.0
    joint_acceleration_std: float = 72.0  # rad/s^2
    orientation_acceleration_std: float = 72.0  # rad/s^2
    camera_acceleration_std: float = 36.0  # m/s^2 across the view, and of the log of the depth
    reestimates: int = 5  # how often the standard deviations are estimated anew from the track; 0 keeps the guess
    max_iterations: int = 20
    relative_tolerance: float = 1e-5
    max_frames: int = 1000

    def __post_init__(self) -> None:
        if not MIN_FPS <= self.fps <= MAX_FPS:  # also refuses NaN
            raise ValueError(f"fit.track.fps={self.fps}: frames a second, {MIN_FPS:g} to {MAX_FPS:g} expected.")
        if self.max_frames < 3:
            raise ValueError(f"fit.track.max_frames={self.max_frames}: at least 3 expected, below there is no motion.")


@dataclass(frozen=True)
class _Point:
    """A track at x (T, 59), betas equal in all rows: cost of everything, per-frame parts, acceleration (T - 2, 49)."""

    x: Tensor
    cost: float
    frames: Linearised
    acceleration: Array


@dataclass(frozen=True)
class Track:
    """A fitted track: the result, what each frame's part of the objective was, and the motion that was learned."""

    result: SkelifyResult
    problem: Problem
    prior: MotionPrior


class TrackFit:
    """Fits whole tracks; a track is the independent unit, as a person is for `Skelify`.

    >>> first = skelify.fit(keypoints, q, betas, cam_t)                  # T frames of one person, each for itself
    >>> result = TrackFit(skelify).fit(keypoints, frames / fps, first)   # together
    """

    def __init__(self, skelify: Skelify, config: TrackConfig | None = None):
        self.skelify, self.config = skelify, config or TrackConfig()

    def fit(
        self,
        keypoints: Float[Tensor, "T 44 3"],
        times: Float[Tensor, "T"],
        first: SkelifyResult,
        mean_pose: Bool[Tensor, "T"] | None = None,
        keypoints_3d: Float[Tensor, "T 44 4"] | None = None,
        focal: Float[Tensor, "T"] | None = None,
    ) -> SkelifyResult:
        """Fit the frames of one track together, from what `Skelify` found for each of them.

        times: s, ascending; what lies far apart hardly binds each other. Every frame is held to its own anchor, as
        before (`first.anchor_q`), and the shape to the mean of theirs; mean_pose: where the anchor is the mean pose,
        which holds less; focal: crop units, those that `first` was fitted with. The result has the same betas in every
        row; one frame alone is returned as it came. q_std is that of each frame by itself, so it errs on the safe side.

        Raises ValueError when times do not ascend or shapes disagree, and for the published objective.
        """
        loosely = torch.zeros(len(first.q), dtype=torch.bool) if mean_pose is None else mean_pose
        anchor = Anchor(first.anchor_q, loosely, first.anchor_betas)
        return self.whole(keypoints, times, first, anchor, keypoints_3d, focal).result

    def whole(
        self,
        keypoints: Float[Tensor, "T 44 3"],
        times: Float[Tensor, "T"],
        first: SkelifyResult,
        anchor: Anchor,
        keypoints_3d: Float[Tensor, "T 44 4"] | None = None,
        focal: Float[Tensor, "T"] | None = None,
    ) -> Track:
        """As `fit`, held to `anchor`, and with what it takes to ask for the `energy` of other labels of the frames."""
        seconds = self._times(times, len(first.q))
        problem = self.skelify.problem(keypoints, first.q, first.betas, first.cam_t, anchor, keypoints_3d, focal)
        shared = _with_shared_hold(problem)
        if len(first.q) < 2:
            return Track(first, shared, MotionPrior.guessed(seconds, self._guessed_std()))
        found, spent, prior = self._learn_and_minimise(shared, _with_one_shape(problem, first), seconds)
        minimum = Minimum(found.x, found.frames.cost, found.frames.normal, first.iterations + spent)
        return Track(self.skelify.result(minimum, problem), shared, prior)

    def energy(
        self, track: Track, q: Float[Tensor, "T 46"], betas: Float[Tensor, "T 10"], cam_t: Float[Tensor, "T 3"]
    ) -> Float[Tensor, "T"]:
        """What labels of the track's frames cost under these cameras, by frame: alone, and as a motion under the scales
        that were learned from the track.
        """
        like = track.problem.start
        x = torch.cat([q, betas, cam_t[:, :2], torch.log(cam_t[:, 2:])], 1).to(like)
        at = self._at(x, track.problem, track.prior)
        return at.frames.cost + torch.as_tensor(track.prior.shares(at.acceleration)).to(like)

    def _times(self, times: Tensor, count: int) -> Array:
        if self.skelify.config.objective != "robust":
            raise ValueError("Tracks are fitted with objective=robust; the published objective knows no video.")
        seconds = times.detach().cpu().numpy().astype(np.float64)
        if seconds.shape != (count,) or not (np.diff(seconds) > 0).all() or not np.isfinite(seconds).all():
            raise ValueError(f"times must be {count} ascending numbers, one a row: got {seconds.tolist()[:10]} ...")
        return seconds

    def _learn_and_minimise(self, problem: Problem, start: Tensor, seconds: Array) -> tuple[_Point, int, MotionPrior]:
        """Generalised EM: a few steps under each estimate of the motion's scales, then to the end under the last."""
        config, spent = self.config, 0
        prior, x = MotionPrior.guessed(seconds, self._guessed_std()), start
        for _ in range(config.reestimates if prior.frames > 2 else 0):
            at, used = self._minimise(problem, x, prior, _COARSE_ITERATIONS, _COARSE_TOLERANCE)
            x, spent = at.x, spent + used
            try:
                covariance = self._normal(at, prior).covariance()
            except np.linalg.LinAlgError:
                break
            prior = prior.reestimated(at.acceleration, prior.acceleration_variance(covariance))
        at, used = self._minimise(problem, x, prior, config.max_iterations, config.relative_tolerance)
        return at, spent + used, prior

    def _guessed_std(self) -> Array:
        std = np.full(len(_OWN), self.config.joint_acceleration_std)
        std[:N_UNLIMITED] = self.config.orientation_acceleration_std
        std[N_Q:] = self.config.camera_acceleration_std
        return std

    def _minimise(
        self, problem: Problem, start: Tensor, prior: MotionPrior, iterations: int, tolerance: float
    ) -> tuple[_Point, int]:
        """Levenberg-Marquardt with Nielsen's damping, as `minimise`, for one banded system; evaluations used."""
        at, damping, growth, spent = self._at(start, problem, prior), 1e-4, 2.0, 1
        for _ in range(iterations):
            gradient = at.frames.gradient.cpu().numpy()
            own = gradient[:, _OWN] + prior.gradient(at.acceleration)
            step, shared, predicted = self._normal(at, prior).step(own, gradient[:, _SHARED].sum(0), damping)
            there = self._at(self._moved(at.x, step, shared), problem, prior)
            drop, spent = at.cost - there.cost, spent + 1
            done = predicted <= tolerance * at.cost * 1e-3
            if drop > 0:
                done |= drop <= tolerance * at.cost
                ratio = min(max(drop / max(predicted, 1e-300), -1.0), 2.0)
                at, damping, growth = there, damping * max(1 - (2 * ratio - 1) ** 3, 1 / 3), 2.0
            else:
                damping, growth = damping * growth, growth * 2
            if done or damping > 1e8 or not np.isfinite(at.cost):
                break
        return at, spent

    def _at(self, x: Tensor, problem: Problem, prior: MotionPrior) -> _Point:
        frames = self.skelify.evaluate(x, problem.terms)
        spin = self.skelify.orientation.between(x[1:, :N_Q], x[:-1, :N_Q])
        moves = torch.cat([spin, (x[1:] - x[:-1])[:, N_UNLIMITED:]], 1)[:, _OWN].cpu().numpy()
        acceleration = prior.acceleration(moves)
        return _Point(x, float(frames.cost.sum()) + prior.cost(acceleration), frames, acceleration)

    def _normal(self, at: _Point, prior: MotionPrior) -> BandedNormal:
        """Unknowns that sit at a bound and would leave it are held."""
        normal = at.frames.normal.cpu().numpy()
        gradient = at.frames.gradient[:, _OWN].cpu().numpy() + prior.gradient(at.acceleration)
        x = at.x[:, _OWN].cpu().numpy()
        low, high = (b[_OWN].cpu().numpy() for b in (self.skelify.bounds.low, self.skelify.bounds.high))
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        blocks, border = normal[:, _OWN[:, None], _OWN], normal[:, _OWN, _SHARED]
        return BandedNormal.assembled(blocks, border, normal[:, _SHARED, _SHARED].sum(0), prior.bands(), ~held)

    def _moved(self, x: Tensor, step: Array, shared: Array) -> Tensor:
        whole = torch.zeros_like(x)
        whole[:, _OWN] = torch.as_tensor(step).to(x)
        whole[:, _SHARED] = torch.as_tensor(shared).to(x)
        return self.skelify.bounds.clamp(self.skelify.orientation.retract(x, whole))


def _with_one_shape(problem: Problem, first: SkelifyResult) -> Tensor:
    """Where the track starts: betas averaged over the frames, the well-known ones more."""
    weight = 1 / first.q_std.to(problem.start).square().mean(1, keepdim=True)
    x = problem.start.clone()
    x[:, _SHARED] = (weight * x[:, _SHARED]).sum(0) / weight.sum()
    return x


def _with_shared_hold(problem: Problem) -> Problem:
    """The hold on the betas divided among the frames, so that it counts once for the track: to the mean of theirs."""
    precision = problem.terms.precision.clone()
    precision[..., _SHARED] /= len(precision)
    return problem._replace(terms=replace(problem.terms, precision=precision))
