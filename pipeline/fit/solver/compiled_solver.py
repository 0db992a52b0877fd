"""The whole fit of one person in one compiled loop, for the CPU.

The algorithm of `pipeline.numerics.levenberg_marquardt.minimise` on the objectives of `Skelify` and `SmplToSkel`, whose
torch forms serve the GPU and check this one. Per iteration: one pass over the keypoints, a 59 x 59 normal matrix that
stays in the first-level cache, one Cholesky factorisation. Between iterations a person's numbers never leave the core.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.body.keypoint_loop import in_chunks
from pipeline.body.keypoint_tables import KeypointTables, new_scratch
from pipeline.fit.solver.compiled_pelvis import pelvis_matrix, pelvis_q, product, rodrigues
from pipeline.fit.solver.compiled_terms import linearise, new_workspace
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.fit.solver.posterior import Estimate
from pipeline.fit.solver.targets import N_UNKNOWNS, Targets, one_person
from pipeline.numerics.levenberg_marquardt import BOUND_ROUNDS, Bounds, LmConfig
from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_Q

_N = N_UNKNOWNS


@dataclass(frozen=True)
class Stage:
    """One pass: kernel_scale s in the unit of the targets and when to stop."""

    kernel_scale: float
    stop: LmConfig


class _Stages(NamedTuple):
    """The S passes as the loop reads them, see `Stage` and `LmConfig`."""

    kernel_scale: Float[np.ndarray, "S"]
    max_iterations: Int64[np.ndarray, "S"]
    relative_tolerance: Float[np.ndarray, "S"]
    step_tolerance: Float[np.ndarray, "S"]
    initial_damping: Float[np.ndarray, "S"]


class _State(NamedTuple):
    """Where a person's search is: half the gradient and the normal matrix here and at the trial, the damped matrix or
    its factor, the step and the trial.
    """

    gradient: Float[np.ndarray, "59"]
    normal: Float[np.ndarray, "59 59"]
    gradient_there: Float[np.ndarray, "59"]
    normal_there: Float[np.ndarray, "59 59"]
    factor: Float[np.ndarray, "59 59"]
    step: Float[np.ndarray, "59"]
    trial: Float[np.ndarray, "59"]


@compiled()
def _factorise(a):
    """Upper Cholesky factor of the upper triangle of a, in place, by rows; False where a is not positive."""
    for k in range(_N):
        if not a[k, k] > 0:
            return False
        pivot = np.sqrt(a[k, k])
        row = a[k]
        for j in range(k, _N):
            row[j] /= pivot
        for i in range(k + 1, _N):
            factor, line = row[i], a[i]
            if factor != 0:
                for j in range(i, _N):
                    line[j] -= factor * row[j]
    return True


@compiled()
def _solve(factor, b):
    for i in range(_N):
        b[i] /= factor[i, i]
        for j in range(i + 1, _N):
            b[j] -= factor[i, j] * b[i]
    for i in range(_N - 1, -1, -1):
        total = b[i]
        for j in range(i + 1, _N):
            total -= factor[i, j] * b[j]
        b[i] = total / factor[i, i]


@compiled()
def _damped_step(gradient, normal, x, low, high, damping, factor, step):
    """Step inside the bounds and the drop in cost it predicts; 0 where the matrix is not positive."""
    fixed, fixed_step = np.empty(_N, np.bool_), np.zeros(_N, x.dtype)
    for i in range(_N):
        fixed[i] = (x[i] <= low[i] and gradient[i] > 0) or (x[i] >= high[i] and gradient[i] < 0)
    for _ in range(BOUND_ROUNDS):
        if not _free_step(gradient, normal, damping, fixed, fixed_step, factor, step):
            step[:] = 0
            return 0.0
        leaving = False
        for i in range(_N):
            there = x[i] + step[i]
            if not fixed[i] and (there < low[i] or there > high[i]):
                fixed[i], leaving, fixed_step[i] = True, True, min(max(there, low[i]), high[i]) - x[i]
        if not leaving:
            break
    predicted = 0.0
    for i in range(_N):
        curved = 0.5 * normal[i, i] * step[i]
        for j in range(i + 1, _N):
            curved += normal[i, j] * step[j]
        predicted -= 2 * step[i] * (gradient[i] + curved)
    return predicted


@compiled()
def _free_step(gradient, normal, damping, fixed, fixed_step, factor, step):
    """The damped Gauss-Newton step of the free unknowns when the fixed ones move by fixed_step; False: not positive."""
    largest = 0.0
    for i in range(_N):
        largest = max(largest, normal[i, i])
        step[i] = 0.0 if fixed[i] else -gradient[i]
    for i in range(_N):
        for j in range(i + 1, _N):
            factor[i, j] = 0.0 if fixed[i] or fixed[j] else normal[i, j]
            if fixed[i] and not fixed[j]:
                step[j] -= normal[i, j] * fixed_step[i]
            elif fixed[j] and not fixed[i]:
                step[i] -= normal[i, j] * fixed_step[j]
        factor[i, i] = normal[i, i] * (1 + damping) + largest * 8.9e-16
    if not _factorise(factor):
        return False
    _solve(factor, step)
    for i in range(_N):
        if fixed[i]:
            step[i] = fixed_step[i]
    return True


@compiled()
def _move(x, step, frame, low, high, out):
    turn = np.empty((3, 3), x.dtype)
    rodrigues(step[0], step[1], step[2], turn)
    for i in range(_N):
        out[i] = min(max(x[i] + step[i], low[i]), high[i])
    pelvis_q(product(turn, pelvis_matrix(x, frame)), frame, out)


@compiled()
def _minimise(x, stages, stage, person, common, frame, low, high, tables, scratch, work, state):
    """Levenberg-Marquardt of one person from x, in place; returns (cost, evaluations)."""
    gradient, normal, gradient_there, normal_there, factor, step, trial = state
    scale, damping = stages.kernel_scale[stage], stages.initial_damping[stage]
    relative, smallest_step = stages.relative_tolerance[stage], stages.step_tolerance[stage]
    cost = linearise(x, scale, person, common, frame, tables, scratch, work, gradient, normal)
    growth, evaluations = 2.0, 1
    for _ in range(stages.max_iterations[stage]):
        predicted = _damped_step(gradient, normal, x, low, high, damping, factor, step)
        _move(x, step, frame, low, high, trial)
        there = linearise(trial, scale, person, common, frame, tables, scratch, work, gradient_there, normal_there)
        evaluations += 1
        drop = cost - there
        better = drop > 0 and np.isfinite(there)
        done = (better and drop <= relative * cost) or np.abs(step).max() <= smallest_step
        done = done or 0 <= predicted <= relative * cost * 1e-3 or damping > 1e8 or not np.isfinite(cost)
        if better:
            ratio = min(max(drop / max(predicted, 1e-300), -1.0), 2.0)
            damping *= max(1 - (2 * ratio - 1) ** 3, 1 / 3)
            growth, cost = 2.0, there
            x[:], gradient[:], normal[:] = trial, gradient_there, normal_there
        else:
            damping *= growth
            growth *= 2
        if done:
            break
    return cost, evaluations


@compiled()
def _covariance(normal, factor, variance, spin):
    """Variance of q (46,) and covariance of the spin (3, 3) from the inverse; infinite where there is none."""
    factor[:] = normal
    variance[:], spin[:] = np.inf, np.inf
    if not _factorise(factor):
        return
    _invert(factor)
    for i in range(N_Q):
        variance[i] = (factor[i, i:] ** 2).sum()
    for i in range(len(spin)):
        for j in range(len(spin)):
            k = max(i, j)
            spin[i, j] = (factor[i, k:] * factor[j, k:]).sum()


@compiled()
def _invert(factor):
    """Inverse of an upper triangular matrix, in place, from the last row up."""
    row = np.empty(_N, factor.dtype)
    for i in range(_N - 1, -1, -1):
        row[:] = 0
        row[i] = 1
        for k in range(i + 1, _N):
            line, share = factor[k], factor[i, k]
            if share != 0:
                for j in range(k, _N):
                    row[j] -= share * line[j]
        pivot = factor[i, i]
        for j in range(i, _N):
            factor[i, j] = row[j] / pivot


@compiled()
def _new_state(z):
    return _State(
        gradient=np.zeros(_N, z),
        normal=np.zeros((_N, _N), z),
        gradient_there=np.zeros(_N, z),
        normal_there=np.zeros((_N, _N), z),
        factor=np.zeros((_N, _N), z),
        step=np.zeros(_N, z),
        trial=np.zeros(_N, z),
    )


@compiled(nogil=True)
def _people(first, last, x, stages, people, common, frame, low, high, tables, cost, variance, spin, spent):
    scratch, state = new_scratch(tables, x.dtype), _new_state(x.dtype)
    work = new_workspace(people.position.shape[1], people.position.shape[2], x.dtype)
    for i in range(first, last):
        person = one_person(people, i, frame)
        for j in range(_N):
            x[i, j] = min(max(x[i, j], low[j]), high[j])
        for stage in range(len(stages.kernel_scale)):
            cost[i], used = _minimise(
                x[i], stages, stage, person, common, frame, low, high, tables, scratch, work, state
            )  # fmt: skip
            spent[i] += used
        _covariance(state.normal, state.factor, variance[i], spin[i])


def solve(
    start: Float[Tensor, "B 59"],
    targets: Targets,
    stages: tuple[Stage, ...],
    orientation: PelvisOrientation,
    bounds: Bounds,
    tables: KeypointTables,
    threads: int,
) -> Estimate:
    """Run the stages one after the other for every person from start (B, 59); each person is an independent problem."""
    x = start.numpy().copy()
    count, dtype = len(x), x.dtype
    cost, spent = np.zeros(count, dtype), np.zeros(count, np.int64)
    variance, spin = np.zeros((count, N_Q), dtype), np.zeros((count, 3, 3), dtype)
    terms = _columns(stages), *targets
    body = orientation.frame.numpy(), bounds.low.numpy(), bounds.high.numpy(), tables

    def work(first: int, last: int) -> None:
        _people(first, last, x, *terms, *body, cost, variance, spin, spent)

    in_chunks(work, count, threads)
    return Estimate(*(torch.from_numpy(found) for found in (x, cost, variance, spin, spent)))


def _columns(stages: tuple[Stage, ...]) -> _Stages:
    stops = [stage.stop for stage in stages]
    return _Stages(
        kernel_scale=np.array([stage.kernel_scale for stage in stages], np.float64),
        max_iterations=np.array([stop.max_iterations for stop in stops], np.int64),
        relative_tolerance=np.array([stop.relative_tolerance for stop in stops], np.float64),
        step_tolerance=np.array([stop.step_tolerance for stop in stops], np.float64),
        initial_damping=np.array([stop.initial_damping for stop in stops], np.float64),
    )
