"""The whole fit of one person in one compiled loop, for the CPU.

The algorithm of `pipeline.numerics.levenberg_marquardt.minimise` on the objectives of `Skelify` and `SmplToSkel`, whose
torch forms serve the GPU and check this one. Per iteration: one pass over the keypoints, a 59 x 59 normal matrix that
stays in the first-level cache, one Cholesky factorisation. Between iterations a person's numbers never leave the core.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.keypoint_loop import KeypointTables, _scratch, in_chunks
from pipeline.fit.solver.compiled_pelvis import pelvis_matrix, pelvis_q, product, rodrigues
from pipeline.fit.solver.compiled_terms import N_UNKNOWNS, Targets, linearise, workspace
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.fit.solver.posterior import Estimate
from pipeline.numerics.levenberg_marquardt import BOUND_ROUNDS, Bounds, LmConfig
from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_Q

_N = N_UNKNOWNS


@dataclass(frozen=True)
class Stage:
    """One pass: kernel_scale s in the unit of the targets and when to stop."""

    kernel_scale: float
    stop: LmConfig


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
def _minimise(x, kernel, scale, person, common, stop, frame, low, high, tables, s, w, state):
    """Levenberg-Marquardt of one person from x, in place; returns (cost, evaluations)."""
    gradient, normal, gradient_there, normal_there, factor, step, trial = state
    iterations, relative, smallest_step, damping = int(stop[0]), stop[1], stop[2], stop[3]
    cost = linearise(x, kernel, scale, person, common, frame, tables, s, w, gradient, normal)
    growth, evaluations = 2.0, 1
    for _ in range(iterations):
        predicted = _damped_step(gradient, normal, x, low, high, damping, factor, step)
        _move(x, step, frame, low, high, trial)
        there = linearise(trial, kernel, scale, person, common, frame, tables, s, w, gradient_there, normal_there)
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
def _state(z):
    return (
        np.zeros(_N, z), np.zeros((_N, _N), z), np.zeros(_N, z), np.zeros((_N, _N), z), np.zeros((_N, _N), z),
        np.zeros(_N, z), np.zeros(_N, z),
    )  # fmt: skip


@compiled(nogil=True)
def _people(first, last, x, kernel, people, common, stages, frame, low, high, tables, cost, variance, spin, spent):
    position, weight, unit, points_3d, weight_3d, anchor, precision = people
    s = _scratch(len(tables[8]), len(tables[14]), len(tables[20]), x)
    w, state = workspace(position.shape[1], position.shape[2], x.dtype), _state(x.dtype)
    normal, factor = state[1], state[4]
    for i in range(first, last):
        anchor_matrix = pelvis_matrix(anchor[i], frame)
        person = position[i], weight[i], points_3d[i], weight_3d[i], anchor[i], precision[i], anchor_matrix
        for j in range(_N):
            x[i, j] = min(max(x[i, j], low[j]), high[j])
        for stage in range(len(stages)):
            stop, scale = stages[stage], stages[stage, 4] * unit[i]
            cost[i], used = _minimise(x[i], kernel, scale, person, common, stop, frame, low, high, tables, s, w, state)
            spent[i] += used
        _covariance(normal, factor, variance[i], spin[i])


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
    people = (
        targets.position, targets.weight, targets.unit, targets.points_3d, targets.weight_3d, targets.anchor,
        targets.precision,
    )  # fmt: skip
    common = float(targets.kernel_3d), float(targets.range_pull), targets.joint_limits
    constants = (
        int(targets.kernel), people, common, _table_of(stages), orientation.frame.numpy(), bounds.low.numpy(),
        bounds.high.numpy(), tuple(vars(tables).values()),
    )  # fmt: skip

    def work(first: int, last: int) -> None:
        _people(first, last, x, *constants, cost, variance, spin, spent)

    in_chunks(work, count, threads)
    return Estimate(*(torch.from_numpy(found) for found in (x, cost, variance, spin, spent)))


def _table_of(stages: tuple[Stage, ...]) -> np.ndarray:
    rows = [
        (
            s.stop.max_iterations,
            s.stop.relative_tolerance,
            s.stop.step_tolerance,
            s.stop.initial_damping,
            s.kernel_scale,
        )
        for s in stages
    ]
    return np.array(rows, dtype=np.float64)
