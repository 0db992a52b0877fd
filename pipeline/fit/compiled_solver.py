"""The whole fit of one person in one compiled loop, for the CPU.

The algorithm of `pipeline.levenberg_marquardt.minimise` on the objectives of `Skelify` and `SmplToSkel`, whose torch
forms serve the GPU and check this one. Per iteration: one pass over the keypoints, a 59 x 59 normal matrix that stays
in the first-level cache, one Cholesky factorisation. Between iterations a person's numbers never leave the core.
"""

from dataclasses import dataclass

import numba
import numpy as np

from pipeline.body.keypoint_kernel import Array, KernelTables, _person, _scratch, in_chunks
from pipeline.fit.orientation import PelvisOrientation
from pipeline.levenberg_marquardt import Bounds, LmConfig
from schemas.skel import N_BETAS, N_Q

_N = N_Q + N_BETAS + 3
_CAM = N_Q + N_BETAS
_SPIN_ROWS = 3
_MIN_DEPTH = 0.1


@dataclass(frozen=True)
class Stage:
    """One pass: kernel_scale s in the unit of the targets and when to stop."""

    kernel_scale: float
    stop: LmConfig


@dataclass(frozen=True)
class Targets:
    """What the points of B people are drawn to: position (B, K, 2) crop units or (B, K, 3) m, weight (B, K), anchor and
    precision (B, 59) of the unknowns (q, betas, and tx, ty, log tz or trans).
    """

    position: Array
    weight: Array
    anchor: Array
    precision: Array


@dataclass(frozen=True)
class Solution:
    """x (B, 59), cost (B,), undamped normal matrix (B, 59, 59), evaluations (B,)."""

    x: Array
    cost: Array
    normal: Array
    iterations: np.ndarray


@numba.njit(cache=True)
def _rodrigues(x, y, z, out):
    angle = np.sqrt(x * x + y * y + z * z)
    half = angle / 2
    s = 1 - angle * angle / 6 if angle < 1e-4 else np.sin(angle) / angle
    h = 1 - half * half / 6 if half < 1e-4 else np.sin(half) / half
    c = h * h / 2
    out[0, 0], out[1, 1], out[2, 2] = 1 - c * (y * y + z * z), 1 - c * (x * x + z * z), 1 - c * (x * x + y * y)
    out[0, 1], out[1, 0] = c * x * y - s * z, c * x * y + s * z
    out[0, 2], out[2, 0] = c * x * z + s * y, c * x * z - s * y
    out[1, 2], out[2, 1] = c * y * z - s * x, c * y * z + s * x


@numba.njit(cache=True)
def _product(a, b):
    out = np.empty((3, 3), a.dtype)
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
    return out


@numba.njit(cache=True)
def _pelvis_matrix(q, frame):
    """M Ry(q2) Rx(q1) Rz(q0) M^T: the pelvis dofs turn about +z, +x, +y."""
    turn = np.empty((3, 3, 3), frame.dtype)
    _rodrigues(0.0, q[2], 0.0, turn[0])
    _rodrigues(q[1], 0.0, 0.0, turn[1])
    _rodrigues(0.0, 0.0, q[0], turn[2])
    return _product(_product(frame, _product(_product(turn[0], turn[1]), turn[2])), frame.T)


@numba.njit(cache=True)
def _pelvis_q(matrix, frame, q):
    r = _product(_product(frame.T, matrix), frame)
    cosine = np.sqrt(r[1, 1] ** 2 + r[1, 0] ** 2)
    q[1] = np.arctan2(-r[1, 2], cosine)
    if cosine < 1e-14:
        q[2], q[0] = np.arctan2(-r[2, 0], r[0, 0]), 0.0
    else:
        q[2], q[0] = np.arctan2(r[0, 2], r[2, 2]), np.arctan2(r[1, 0], r[1, 1])


@numba.njit(cache=True)
def _spin_between(to, start, out):
    """Spin vector of to @ start^T, |.| <= pi, from the largest quaternion component."""
    m = _product(to, start.T)
    w, x, y, z = 1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2], 0.0, 0.0
    y, z = 1 - m[0, 0] + m[1, 1] - m[2, 2], 1 - m[0, 0] - m[1, 1] + m[2, 2]
    a, b, c = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    d, e, f = m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1]
    if w >= x and w >= y and w >= z:
        q0, q1, q2, q3 = w, a, b, c
    elif x >= y and x >= z:
        q0, q1, q2, q3 = a, x, d, e
    elif y >= z:
        q0, q1, q2, q3 = b, d, y, f
    else:
        q0, q1, q2, q3 = c, e, f, z
    sign = -1.0 if q0 < 0 else 1.0
    n = np.sqrt(q1 * q1 + q2 * q2 + q3 * q3)
    half = np.arctan2(n, abs(q0))
    scale = 2 / abs(q0) if n < 1e-12 * abs(q0) else 2 * half / n
    out[0], out[1], out[2] = sign * q1 * scale, sign * q2 * scale, sign * q3 * scale


@numba.njit(cache=True)
def _image_rows(points, by_q, by_betas, pivot, x, rows, residual, target):
    """Residuals (K, 2) and rows (2 K, 59) of the projected points in (spin, q[3:], betas, tx, ty, log tz)."""
    focal = 5000.0 / 256.0
    depth0 = np.exp(min(max(x[_CAM + 2], -3.0), 8.0))
    for k in range(len(points)):
        z = max(points[k, 2] + depth0, _MIN_DEPTH)
        s = focal / z
        for a in range(2):
            u = (points[k, a] + x[_CAM + a]) * s
            residual[k, a] = u - target[k, a]
            row, dz = rows[2 * k + a], -u / z
            _spin_entries(row, a, s, dz, points[k], pivot)
            for d in range(_SPIN_ROWS, N_Q):
                row[d] = s * by_q[k, a, d] + dz * by_q[k, 2, d]
            for m in range(N_BETAS):
                row[N_Q + m] = s * by_betas[k, a, m] + dz * by_betas[k, 2, m]
            row[_CAM], row[_CAM + 1] = 0.0, 0.0
            row[_CAM + a], row[_CAM + 2] = s, dz * depth0


@numba.njit(cache=True)
def _spin_entries(row, a, s, dz, point, pivot):
    """(s e_a + dz e_z) . (e_i x arm) for the three spins."""
    x, y, z = point[0] - pivot[0], point[1] - pivot[1], point[2] - pivot[2]
    if a == 0:
        row[0], row[1], row[2] = dz * y, s * z - dz * x, -s * y
    else:
        row[0], row[1], row[2] = -s * z + dz * y, -dz * x, s * x


@numba.njit(cache=True)
def _space_rows(points, by_q, by_betas, pivot, x, rows, residual, target):
    """Residuals (K, 3) and rows (3 K, 59) of the points in (spin, q[3:], betas, trans)."""
    for k in range(len(points)):
        ax, ay, az = points[k, 0] - pivot[0], points[k, 1] - pivot[1], points[k, 2] - pivot[2]
        r0, r1, r2 = rows[3 * k], rows[3 * k + 1], rows[3 * k + 2]
        r0[0], r0[1], r0[2] = 0.0, az, -ay
        r1[0], r1[1], r1[2] = -az, 0.0, ax
        r2[0], r2[1], r2[2] = ay, -ax, 0.0
        for a in range(3):
            residual[k, a] = points[k, a] + x[_CAM + a] - target[k, a]
            row = rows[3 * k + a]
            for d in range(_SPIN_ROWS, N_Q):
                row[d] = by_q[k, a, d]
            for m in range(N_BETAS):
                row[N_Q + m] = by_betas[k, a, m]
            row[_CAM], row[_CAM + 1], row[_CAM + 2] = 0.0, 0.0, 0.0
            row[_CAM + a] = 1.0


@numba.njit(cache=True)
def _accumulate(rows, residual, weight, scale, gradient, normal):
    """Cost of the points; gradient and the upper triangle of the normal matrix are added up.

    In the image far points pull less, s^2 d^2 / (s^2 + d^2) (Geman-McClure); in space more, d^2 + d^4 / (2 s^2).
    """
    cost, width = 0.0, residual.shape[1]
    for k in range(len(residual)):
        if weight[k] == 0:
            continue
        squared = 0.0
        for a in range(width):
            squared += residual[k, a] ** 2
        if width == 2:
            half = scale * scale / (scale * scale + squared)
            cost += weight[k] * half * squared
            pull = weight[k] * half * half
            _add_two_rows(rows[2 * k], rows[2 * k + 1], pull, residual[k], gradient, normal)
        else:
            cost += weight[k] * (squared + squared * squared / (2 * scale * scale))
            pull = weight[k] * (1 + squared / (scale * scale))
            _add_three_rows(rows[3 * k], rows[3 * k + 1], rows[3 * k + 2], pull, residual[k], gradient, normal)
    return cost


@numba.njit(cache=True)
def _add_two_rows(r0, r1, pull, residual, gradient, normal):
    for i in range(_N):
        if r0[i] == 0 and r1[i] == 0:
            continue  # most joints do not move this keypoint
        a, b = pull * r0[i], pull * r1[i]
        gradient[i] += a * residual[0] + b * residual[1]
        line = normal[i]
        for j in range(i, _N):
            line[j] += a * r0[j] + b * r1[j]


@numba.njit(cache=True)
def _add_three_rows(r0, r1, r2, pull, residual, gradient, normal):
    for i in range(_N):
        if r0[i] == 0 and r1[i] == 0 and r2[i] == 0:
            continue
        a, b, c = pull * r0[i], pull * r1[i], pull * r2[i]
        gradient[i] += a * residual[0] + b * residual[1] + c * residual[2]
        line = normal[i]
        for j in range(i, _N):
            line[j] += a * r0[j] + b * r1[j] + c * r2[j]


@numba.njit(cache=True)
def _linearise(x, target, weight, anchor, precision, scale, frame, tables, s, w, gradient, normal):
    points, by_q, by_betas, rows, residual, spin = w
    _person(x[:N_Q], x[N_Q:_CAM], tables, s, points, by_q, by_betas)
    pivot = s[0][0]
    gradient[:], normal[:] = 0, 0
    if residual.shape[1] == 2:
        _image_rows(points, by_q, by_betas, pivot, x, rows, residual, target)
    else:
        _space_rows(points, by_q, by_betas, pivot, x, rows, residual, target)
    cost = _accumulate(rows, residual, weight, scale, gradient, normal)
    _spin_between(_pelvis_matrix(x, frame), _pelvis_matrix(anchor, frame), spin)
    for i in range(_N):
        away = spin[i] if i < _SPIN_ROWS else x[i] - anchor[i]
        cost += precision[i] * away * away
        gradient[i] += precision[i] * away
        normal[i, i] += precision[i]
    return cost


@numba.njit(cache=True)
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


@numba.njit(cache=True)
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


@numba.njit(cache=True)
def _damped_step(gradient, normal, x, low, high, damping, factor, step):
    """Step of the free unknowns and the drop in cost it predicts; 0 where the matrix is not positive."""
    largest = 0.0
    for i in range(_N):
        largest = max(largest, normal[i, i])
    held = np.empty(_N, np.bool_)
    for i in range(_N):
        held[i] = (x[i] <= low[i] and gradient[i] > 0) or (x[i] >= high[i] and gradient[i] < 0)
    for i in range(_N):
        for j in range(i + 1, _N):
            factor[i, j] = 0.0 if held[i] or held[j] else normal[i, j]
        factor[i, i] = normal[i, i] * (1 + damping) + largest * 8.9e-16
        step[i] = 0.0 if held[i] else -gradient[i]
    if not _factorise(factor):
        step[:] = 0
        return 0.0
    _solve(factor, step)
    predicted = 0.0
    for i in range(_N):
        curved = 0.5 * normal[i, i] * step[i]
        for j in range(i + 1, _N):
            curved += normal[i, j] * step[j]
        predicted -= 2 * step[i] * (gradient[i] + curved)
    return predicted


@numba.njit(cache=True)
def _move(x, step, frame, low, high, out):
    turn = np.empty((3, 3), x.dtype)
    _rodrigues(step[0], step[1], step[2], turn)
    for i in range(_N):
        out[i] = min(max(x[i] + step[i], low[i]), high[i])
    _pelvis_q(_product(turn, _pelvis_matrix(x, frame)), frame, out)


@numba.njit(cache=True)
def _minimise(x, target, weight, anchor, precision, scale, limits, frame, low, high, tables, s, w, state):
    """Levenberg-Marquardt of one person from x, in place; returns (cost, evaluations)."""
    gradient, normal, gradient_there, normal_there, factor, step, trial = state
    iterations, relative, smallest_step, damping = int(limits[0]), limits[1], limits[2], limits[3]
    cost = _linearise(x, target, weight, anchor, precision, scale, frame, tables, s, w, gradient, normal)
    growth, evaluations = 2.0, 1
    for _ in range(iterations):
        predicted = _damped_step(gradient, normal, x, low, high, damping, factor, step)
        _move(x, step, frame, low, high, trial)
        there = _linearise(
            trial, target, weight, anchor, precision, scale, frame, tables, s, w, gradient_there, normal_there
        )
        evaluations += 1
        drop = cost - there
        better = drop > 0 and np.isfinite(there)
        done = (better and drop <= relative * cost) or np.abs(step).max() <= smallest_step
        done = done or predicted <= relative * cost * 1e-3 or damping > 1e8 or not np.isfinite(cost)
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


@numba.njit(cache=True)
def _workspace(n_points, width, z):
    return (
        np.zeros((n_points, 3), z), np.zeros((n_points, 3, N_Q), z), np.zeros((n_points, 3, N_BETAS), z),
        np.zeros((width * n_points, _N), z), np.zeros((n_points, width), z), np.zeros(3, z),
    )  # fmt: skip


@numba.njit(cache=True)
def _state(z):
    return (
        np.zeros(_N, z), np.zeros((_N, _N), z), np.zeros(_N, z), np.zeros((_N, _N), z), np.zeros((_N, _N), z),
        np.zeros(_N, z), np.zeros(_N, z),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _people(first, last, x, target, weight, anchor, precision, stages, frame, low, high, tables, cost, normal, spent):
    z = x.dtype
    s = _scratch(len(tables[8]), len(tables[14]), len(tables[20]), x)
    w, state = _workspace(target.shape[1], target.shape[2], z), _state(z)
    upper = state[1]
    for i in range(first, last):
        for j in range(_N):
            x[i, j] = min(max(x[i, j], low[j]), high[j])
        for stage in range(len(stages)):
            limits = stages[stage]
            found, used = _minimise(
                x[i],
                target[i],
                weight[i],
                anchor[i],
                precision[i],
                limits[4],
                limits,
                frame,
                low,
                high,
                tables,
                s,
                w,
                state,
            )
            cost[i] = found
            spent[i] += used
        for a in range(_N):
            for b in range(a, _N):
                normal[i, a, b] = normal[i, b, a] = upper[a, b]


def solve(
    start: Array,
    targets: Targets,
    stages: tuple[Stage, ...],
    orientation: PelvisOrientation,
    bounds: Bounds,
    tables: KernelTables,
    threads: int,
) -> Solution:
    """Run the stages one after the other for every person from start (B, 59); each person is an independent problem."""
    count, dtype = len(start), start.dtype
    x, cost, spent = start.copy(), np.zeros(count, dtype), np.zeros(count, np.int64)
    normal = np.zeros((count, _N, _N), dtype)
    limits = np.array(
        [
            (
                s.stop.max_iterations,
                s.stop.relative_tolerance,
                s.stop.step_tolerance,
                s.stop.initial_damping,
                s.kernel_scale,
            )
            for s in stages
        ],
        dtype=np.float64,
    )
    constants = (
        targets.position, targets.weight, targets.anchor, targets.precision, limits, orientation.frame.numpy(),
        bounds.low.numpy(), bounds.high.numpy(), tuple(vars(tables).values()),
    )  # fmt: skip

    def work(first: int, last: int) -> None:
        _people(first, last, x, *constants, cost, normal, spent)

    in_chunks(work, count, threads)
    return Solution(x, cost, normal, spent)
