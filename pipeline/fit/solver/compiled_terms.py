"""The terms of the fits' objectives for one person in compiled form: cost, gradient and normal matrix added up.

An objective is a sum of: the points' term (`Kernel` says which), 3D keypoints, what each opinion holds, and
the published pull into the joints' ranges. A term without data costs nothing. `pipeline.fit.solver.image_objective` and
`SmplToSkel` hold the torch forms.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pipeline.body.keypoint_loop import move_person
from pipeline.fit.solver.compiled_pelvis import pelvis_matrix, spin_between
from pipeline.fit.solver.targets import N_UNKNOWNS, Kernel
from pipeline.image.camera import MIN_DEPTH
from pipeline.numerics.numba_cache import compiled
from schemas.keypoints import PELVIS
from schemas.skel import N_BETAS, N_Q

_N = N_UNKNOWNS
_CAM = N_Q + N_BETAS
_SPIN_ROWS = 3


class Workspace(NamedTuple):
    """One person's numbers between the steps of `linearise`, for K points of 2 or 3 coordinates."""

    points: Float[np.ndarray, "K 3"]  # m
    by_q: Float[np.ndarray, "K 3 46"]
    by_betas: Float[np.ndarray, "K 3 10"]
    residual: Float[np.ndarray, "K axes"]
    rows: Float[np.ndarray, "K*axes 59"]  # of the Jacobian
    spin: Float[np.ndarray, "3"]  # from the anchor
    rows_3d: Float[np.ndarray, "3 59"]  # of one 3D keypoint
    residual_3d: Float[np.ndarray, "3"]


@compiled()
def _image_rows(points, by_q, by_betas, pivot, x, rows, residual, target, weight, focal):
    """Residuals (K, 2) and rows (2 K, 59) of the projected points in (spin, q[3:], betas, tx, ty, log tz)."""
    depth0 = np.exp(min(max(x[_CAM + 2], -3.0), 8.0))
    for k in range(len(points)):
        if weight[k] == 0:
            continue
        z = max(points[k, 2] + depth0, MIN_DEPTH)
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


@compiled()
def _spin_entries(row, a, s, dz, point, pivot):
    """(s e_a + dz e_z) . (e_i x arm) for the three spins."""
    x, y, z = point[0] - pivot[0], point[1] - pivot[1], point[2] - pivot[2]
    if a == 0:
        row[0], row[1], row[2] = dz * y, s * z - dz * x, -s * y
    else:
        row[0], row[1], row[2] = -s * z + dz * y, -dz * x, s * x


@compiled()
def _space_rows(points, by_q, by_betas, pivot, x, rows, residual, target):
    """Residuals (K, 3) and rows (3 K, 59) of the points in (spin, q[3:], betas, trans)."""
    for k in range(len(points)):
        _spin_rows(points[k], pivot, rows[3 * k : 3 * k + 3])
        for a in range(3):
            residual[k, a] = points[k, a] + x[_CAM + a] - target[k, a]
            row = rows[3 * k + a]
            for d in range(_SPIN_ROWS, N_Q):
                row[d] = by_q[k, a, d]
            for m in range(N_BETAS):
                row[N_Q + m] = by_betas[k, a, m]
            row[_CAM], row[_CAM + 1], row[_CAM + 2] = 0.0, 0.0, 0.0
            row[_CAM + a] = 1.0


@compiled()
def _spin_rows(point, pivot, rows):
    """e_i x (point - pivot) for the three spins."""
    x, y, z = point[0] - pivot[0], point[1] - pivot[1], point[2] - pivot[2]
    rows[0, 0], rows[0, 1], rows[0, 2] = 0.0, z, -y
    rows[1, 0], rows[1, 1], rows[1, 2] = -z, 0.0, x
    rows[2, 0], rows[2, 1], rows[2, 2] = y, -x, 0.0


@compiled()
def _add_points(kernel, rows, residual, weight, scale, gradient, normal):
    """Cost of the points; gradient and the upper triangle of the normal matrix are added up."""
    cost, squares = 0.0, scale * scale
    for k in range(len(residual)):
        if weight[k] == 0:
            continue
        if kernel == Kernel.SURFACE:
            squared = residual[k, 0] ** 2 + residual[k, 1] ** 2 + residual[k, 2] ** 2
            cost += weight[k] * (squared + squared * squared / (2 * squares))
            pull = weight[k] * (1 + squared / squares)
            _add_three_rows(rows[3 * k : 3 * k + 3], pull, pull, pull, residual[k], gradient, normal)
            continue
        x, y = residual[k, 0] ** 2, residual[k, 1] ** 2
        if kernel == Kernel.IMAGE:
            half_x = squares / (squares + x + y)
            half_y = half_x
        else:
            half_x, half_y = squares / (squares + x), squares / (squares + y)
        cost += weight[k] * (half_x * x + half_y * y)
        pull_x, pull_y = weight[k] * half_x * half_x, weight[k] * half_y * half_y
        _add_two_rows(rows[2 * k], rows[2 * k + 1], pull_x, pull_y, residual[k], gradient, normal)
    return cost


@compiled()
def _add_two_rows(r0, r1, pull0, pull1, residual, gradient, normal):
    for i in range(_N):
        if r0[i] == 0 and r1[i] == 0:
            continue  # most joints do not move this keypoint
        a, b = pull0 * r0[i], pull1 * r1[i]
        gradient[i] += a * residual[0] + b * residual[1]
        line = normal[i]
        for j in range(i, _N):
            line[j] += a * r0[j] + b * r1[j]


@compiled()
def _add_three_rows(rows, pull0, pull1, pull2, residual, gradient, normal):
    r0, r1, r2 = rows[0], rows[1], rows[2]
    for i in range(_N):
        if r0[i] == 0 and r1[i] == 0 and r2[i] == 0:
            continue
        a, b, c = pull0 * r0[i], pull1 * r1[i], pull2 * r2[i]
        gradient[i] += a * residual[0] + b * residual[1] + c * residual[2]
        line = normal[i]
        for j in range(i, _N):
            line[j] += a * r0[j] + b * r1[j] + c * r2[j]


@compiled()
def _add_points_3d(points, by_q, by_betas, target, weight, kernel, rows, residual, gradient, normal):
    """Geman-McClure of the distances in standard deviations, every point relative to the pelvis keypoint."""
    cost, squares = 0.0, kernel * kernel
    for k in range(len(target)):
        if weight[k, 0] == 0:
            continue
        squared = 0.0
        for a in range(3):
            residual[a] = points[k, a] - points[PELVIS, a] - target[k, a]
            squared += weight[k, a] * residual[a] ** 2
            row = rows[a]
            for d in range(_SPIN_ROWS, N_Q):
                row[d] = by_q[k, a, d] - by_q[PELVIS, a, d]
            for m in range(N_BETAS):
                row[N_Q + m] = by_betas[k, a, m] - by_betas[PELVIS, a, m]
            row[_CAM:] = 0
        _spin_rows(points[k], points[PELVIS], rows)
        half = squares / (squares + squared)
        cost += half * squared
        pull = half * half
        _add_three_rows(rows, pull * weight[k, 0], pull * weight[k, 1], pull * weight[k, 2], residual, gradient, normal)
    return cost


@compiled()
def _add_range_pull(q, pull, limits, gradient, normal):
    """The published angle prior: not a barrier, a pull to the middle of each range."""
    cost = 0.0
    for i in range(_SPIN_ROWS, N_Q):
        below, above = pull * np.exp(2 * (limits[0, i] - q[i])), pull * np.exp(2 * (q[i] - limits[1, i]))
        cost += below + above
        gradient[i] += above - below
        normal[i, i] += 2 * (above + below)
    return cost


@compiled()
def _add_hold(x, anchor, precision, softness, frame, anchor_matrix, spin, gradient, normal):
    """One opinion: Geman-McClure of the turn of the pelvis and of each angle, plain squares of the rest."""
    cost, turned = 0.0, 0.0
    spin_between(pelvis_matrix(x, frame), anchor_matrix, spin)
    for i in range(_SPIN_ROWS):
        turned += precision[i] * spin[i] * spin[i]
    for i in range(_N):
        away = spin[i] if i < _SPIN_ROWS else x[i] - anchor[i]
        squared = precision[i] * away * away
        far = turned if i < _SPIN_ROWS else squared
        half = 1 / (1 + softness * far) if i < N_Q else 1.0
        pull = precision[i] * half * half
        cost += half * squared
        gradient[i] += pull * away
        normal[i, i] += pull
    return cost


@compiled()
def linearise(x, scale, person, common, frame, tables, scratch, work, gradient, normal):
    """Cost of one `Person` at x; gradient (59,) and the upper triangle of normal (59, 59) are overwritten.

    scale: the stage's kernel scale; scratch, work: from `new_scratch` and `new_workspace`.
    """
    w, kernel = work, common.kernel
    move_person(x[:N_Q], x[N_Q:_CAM], tables, scratch, w.points, w.by_q, w.by_betas)
    pivot = scratch.joints[0]
    gradient[:], normal[:] = 0, 0
    if kernel == Kernel.SURFACE:
        _space_rows(w.points, w.by_q, w.by_betas, pivot, x, w.rows, w.residual, person.position)
    else:
        _image_rows(
            w.points, w.by_q, w.by_betas, pivot, x, w.rows, w.residual, person.position, person.weight, person.focal
        )  # fmt: skip
    cost = _add_points(kernel, w.rows, w.residual, person.weight, scale * person.unit, gradient, normal)
    if len(person.points_3d) > 0:
        cost += _add_points_3d(
            w.points, w.by_q, w.by_betas, person.points_3d, person.weight_3d, common.kernel_3d, w.rows_3d,
            w.residual_3d, gradient, normal,
        )  # fmt: skip
    if common.range_pull > 0:
        cost += _add_range_pull(x, common.range_pull, common.joint_limits, gradient, normal)
    for k in range(len(person.anchor)):
        cost += _add_hold(
            x, person.anchor[k], person.precision[k], person.softness[k], frame, person.anchor_matrix[k], w.spin,
            gradient, normal,
        )  # fmt: skip
    return cost


@compiled()
def new_workspace(n_points, width, z):
    """Of dtype z, for points of 2 or 3 coordinates."""
    return Workspace(
        points=np.zeros((n_points, 3), z),
        by_q=np.zeros((n_points, 3, N_Q), z),
        by_betas=np.zeros((n_points, 3, N_BETAS), z),
        residual=np.zeros((n_points, width), z),
        rows=np.zeros((width * n_points, _N), z),
        spin=np.zeros(3, z),
        rows_3d=np.zeros((3, _N), z),
        residual_3d=np.zeros(3, z),
    )
