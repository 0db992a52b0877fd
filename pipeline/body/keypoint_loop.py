"""The keypoint operator for the CPU: one compiled loop over people that keeps a person's numbers in the cache.

The same mathematics as `KeypointOperator.in_torch` (which serves the GPU and checks this one), written per person:
what torch streams through memory once per operation is here read once. See docs/performance.md.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from pipeline.body.compiled_kinematics import FIRST_DOF, N_DOFS, move_joints
from pipeline.body.keypoint_tables import KeypointTables, new_scratch
from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_BETAS, N_JOINTS, N_Q


@compiled()
def _turning(axis, rotation, out):
    """[axis]x rotation, flattened: the change of the rotation matrix per unit of spin."""
    a0, a1, a2 = axis[0], axis[1], axis[2]
    for c in range(3):
        r0, r1, r2 = rotation[0, c], rotation[1, c], rotation[2, c]
        out[c], out[3 + c], out[6 + c] = a1 * r2 - a2 * r1, a2 * r0 - a0 * r2, a0 * r1 - a1 * r0


@compiled()
def move_person(q, betas, tables, scratch, points, by_q, by_betas):
    """Overwrite points (K, 3), by_q (K, 3, 46) and by_betas (K, 3, 10) of one person."""
    move_joints(q, betas, tables, scratch)
    t, s = tables, scratch  # their fields are taken out once, see `move_joints`
    pair_keypoint, pair_bone, pair_mass = t.pair_keypoint, t.pair_bone, t.pair_mass
    pair_point, pair_shape, pair_moments = t.pair_point, t.pair_shape, t.pair_moments
    moment_keypoint, moment_joint, moment_mass = t.moment_keypoint, t.moment_joint, t.moment_mass
    block_pair, block_joint, block_sum, coefficients = t.block_pair, t.block_joint, t.block_sum, t.block_coefficients
    sum_keypoint, sum_joint = t.sum_keypoint, t.sum_joint
    rotations, axes_local, world, position = s.rotations, s.axes_local, s.world, s.position
    spin, axes, shifts, spin_world, shift_beta = s.spin, s.axes, s.shifts, s.spin_world, s.shift_beta
    pairs, moments, sums, turn_dof, turn_beta = s.pairs, s.moments, s.sums, s.turn_dof, s.turn_beta
    points[:], by_q[:], by_betas[:] = 0, 0, 0
    # what each (keypoint, bone) pair contributes, in the bone's own frame
    for p in range(len(pair_bone)):
        for c in range(3):
            value = pair_point[p, c]
            for m in range(N_BETAS):
                value += pair_shape[p, c, m] * betas[m]
            pairs[p, c] = value
    sums[:] = 0
    for i in range(len(block_pair)):
        pair, rotation = block_pair[i], rotations[block_joint[i]]
        _add_block(coefficients[i], rotation, world[pair_bone[pair]], pairs[pair], sums[block_sum[i]])
    moments[:] = 0
    for p in range(len(pair_bone)):
        _add_pair(p, pair_keypoint, pair_bone, pair_mass, pair_shape, pair_moments, world, position,
                  pairs, points, by_betas, moments)  # fmt: skip
    for i in range(len(moment_joint)):
        _add_moment(moment_keypoint[i], moment_joint[i], moment_mass[i], moments[i], position, axes,
                    shifts, spin_world, shift_beta, by_q, by_betas)  # fmt: skip
    for j in range(N_JOINTS):
        for i in range(N_DOFS[j]):
            _turning(axes_local[j, :, i], rotations[j], turn_dof[j, i])
        for m in range(N_BETAS):
            _turning(spin[j, :, m], rotations[j], turn_beta[j, m])
    for i in range(len(sum_joint)):
        _add_corrective(sum_keypoint[i], sum_joint[i], sums[i], turn_dof, turn_beta, by_q, by_betas)


@compiled()
def _add_block(coefficient, rotation, bone, pair, total):
    """One pose corrective: its displacement to the pair, its slope (turned to the world) to the keypoint's sum."""
    for c in range(3):
        value = 0.0
        for a in range(3):
            for b in range(3):
                value += coefficient[c, 3 * a + b] * (rotation[a, b] - (1.0 if a == b else 0.0))
        pair[c] += value
    for c in range(3):
        for n in range(9):
            total[c, n] += (
                bone[c, 0] * coefficient[0, n] + bone[c, 1] * coefficient[1, n] + bone[c, 2] * coefficient[2, n]
            )


@compiled()
def _add_pair(p, keypoint, bone, mass, shape, pair_moments, world, position, pairs, points, by_betas, moments):
    k, b = keypoint[p], bone[p]
    for c in range(3):
        g0, g1, g2 = world[b, c, 0], world[b, c, 1], world[b, c, 2]
        value = g0 * pairs[p, 0] + g1 * pairs[p, 1] + g2 * pairs[p, 2] + mass[p] * position[b, c]
        points[k, c] += value
        for n in range(pair_moments.shape[1]):  # an iterator over the row costs four times the whole pair
            i = pair_moments[p, n]
            if i < 0:
                break
            moments[i, c] += value
        for m in range(N_BETAS):
            by_betas[k, c, m] += g0 * shape[p, 0, m] + g1 * shape[p, 1, m] + g2 * shape[p, 2, m]


@compiled()
def _add_moment(k, j, mass, moment, position, axes, shifts, spin_world, shift_beta, by_q, by_betas):
    """Everything of keypoint k that moves with joint j turns about the joint and is carried along."""
    x, y, z = moment[0] - mass * position[j, 0], moment[1] - mass * position[j, 1], moment[2] - mass * position[j, 2]
    d = FIRST_DOF[j]
    for i in range(N_DOFS[j]):
        a0, a1, a2 = axes[j, i, 0], axes[j, i, 1], axes[j, i, 2]
        by_q[k, 0, d + i] += a1 * z - a2 * y + mass * shifts[j, i, 0]
        by_q[k, 1, d + i] += a2 * x - a0 * z + mass * shifts[j, i, 1]
        by_q[k, 2, d + i] += a0 * y - a1 * x + mass * shifts[j, i, 2]
    for m in range(N_BETAS):
        a0, a1, a2 = spin_world[j, 0, m], spin_world[j, 1, m], spin_world[j, 2, m]
        by_betas[k, 0, m] += a1 * z - a2 * y + mass * shift_beta[j, 0, m]
        by_betas[k, 1, m] += a2 * x - a0 * z + mass * shift_beta[j, 1, m]
        by_betas[k, 2, m] += a0 * y - a1 * x + mass * shift_beta[j, 2, m]


@compiled()
def _add_corrective(k, j, total, turn_dof, turn_beta, by_q, by_betas):
    d = FIRST_DOF[j]
    for c in range(3):
        for i in range(N_DOFS[j]):
            value = 0.0
            for n in range(9):
                value += total[c, n] * turn_dof[j, i, n]
            by_q[k, c, d + i] += value
        for m in range(N_BETAS):
            value = 0.0
            for n in range(9):
                value += total[c, n] * turn_beta[j, m, n]
            by_betas[k, c, m] += value


@compiled(nogil=True)
def _people(first, last, q, betas, tables, points, by_q, by_betas):
    scratch = new_scratch(tables, q.dtype)
    for i in range(first, last):
        move_person(q[i], betas[i], tables, scratch, points[i], by_q[i], by_betas[i])


def in_chunks(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call work(first, last) over range(count), on `threads` threads; the compiled loops release the interpreter.

    Plain threads, not numba's: those cost half of the compile time and may not be entered from two threads at once.
    """
    chunks = min(count, 8 * threads)
    bounds = [chunk * count // chunks for chunk in range(chunks + 1)] if count else [0]
    if threads == 1 or chunks < 2:
        work(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))


def points_and_jacobian(
    q: Float[np.ndarray, "B 46"],
    betas: Float[np.ndarray, "B 10"],
    tables: KeypointTables,
    n_keypoints: int,
    threads: int,
) -> tuple[Float[np.ndarray, "B K 3"], Float[np.ndarray, "B K 3 46"], Float[np.ndarray, "B K 3 10"]]:
    """X (B, K, 3), dX/dq (B, K, 3, 46), dX/dbetas (B, K, 3, 10) of q (B, 46), betas (B, 10)."""
    count = len(q)
    points = np.empty((count, n_keypoints, 3), q.dtype)
    by_q, by_betas = np.empty((*points.shape, N_Q), q.dtype), np.empty((*points.shape, N_BETAS), q.dtype)

    def work(first: int, last: int) -> None:
        _people(first, last, q, betas, tables, points, by_q, by_betas)

    in_chunks(work, count, threads)
    return points, by_q, by_betas
