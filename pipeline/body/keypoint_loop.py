"""The keypoint operator for the CPU: one compiled loop over people that keeps a person's numbers in the cache.

The same mathematics as `KeypointOperator.in_torch` (which serves the GPU and checks this one), written per person:
 what torch streams through memory once per operation is here read once. See docs/performance.md.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from pipeline.body import kinematics
from pipeline.body.representation import Q_OF_JOINT
from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_BETAS, N_JOINTS, N_Q, PARENTS

_CHILD = np.array(kinematics.child_table(), dtype=np.int64)
_PARENT = np.array(PARENTS, dtype=np.int64)
_FIRST_DOF = np.array([ids[0] for ids in Q_OF_JOINT], dtype=np.int64)
_N_DOFS = np.array([len(ids) for ids in Q_OF_JOINT], dtype=np.int64)
_COS0, _SIN0 = float(np.cos(pi / 4)), float(np.sin(-pi / 4))

Array = NDArray[np.floating]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class KeypointTables:
    """Constants in the order the loop reads them. rig: joints, L, A, axes, sources; pairs sorted by keypoint; blocks:
    the (pair, corrective joint) couples whose 3x9 coefficients are not all zero; sums: their (keypoint, joint) targets.
    """

    joint_template: Array
    joint_dirs: Array
    bone_rotations: Array
    apose_rotations: Array
    axes: Array
    sources: Array
    turned: Array
    pair_keypoint: Index
    pair_bone: Index
    pair_mass: Array
    pair_point: Array
    pair_shape: Array
    pair_moments: Index
    moment_keypoint: Index
    moment_joint: Index
    moment_mass: Array
    block_pair: Index
    block_joint: Index
    block_sum: Index
    block_coefficients: Array
    sum_keypoint: Index
    sum_joint: Index


@compiled()
def _sinc(x):
    return 1 - x * x / 6 * (1 - x * x / 20 * (1 - x * x / 42)) if abs(x) < 1e-2 else np.sin(x) / x


@compiled()
def _sinc_slope(x):
    if abs(x) < 0.1:
        y = x * x
        return -x / 3 * (1 - y / 10 * (1 - y / 28 * (1 - y / 54 * (1 - y / 88))))
    return (np.cos(x) - np.sin(x) / x) / x


@compiled()
def _matmul(a, b, out):
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@compiled()
def _axis_rotation(axis, angle, out):
    s, h = np.sin(angle), np.sin(angle / 2)
    c = 2 * h * h
    x, y, z = axis[0], axis[1], axis[2]
    out[0, 0] = 1 - c * (y * y + z * z)
    out[1, 1] = 1 - c * (x * x + z * z)
    out[2, 2] = 1 - c * (x * x + y * y)
    out[0, 1], out[1, 0] = c * x * y - s * z, c * x * y + s * z
    out[0, 2], out[2, 0] = c * x * z + s * y, c * x * z - s * y
    out[1, 2], out[2, 1] = c * y * z - s * x, c * y * z + s * x


@compiled()
def _arc_and_spin(u, t, dt, bone, apose, turned, frame, spin, work):
    """frame = N L A^T and the spin of N by the betas, N the shortest arc from u to the target t."""
    if not turned:
        _matmul_transposed(bone, apose, frame)
        spin[:] = 0
        return
    n = np.sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2])
    v0, v1, v2 = t[0] / n, t[1] / n, t[2] / n
    w0, w1, w2 = u[1] * v2 - u[2] * v1, u[2] * v0 - u[0] * v2, u[0] * v1 - u[1] * v0
    c = u[0] * v0 + u[1] * v1 + u[2] * v2
    d = 1 / max(1 + c, 1e-15)
    # I + K + K^2 / (1 + c) with K^2 = w w^T - |w|^2 I
    ww = w0 * w0 + w1 * w1 + w2 * w2
    arc = work[0]
    arc[0, 0], arc[1, 1], arc[2, 2] = 1 + d * (w0 * w0 - ww), 1 + d * (w1 * w1 - ww), 1 + d * (w2 * w2 - ww)
    arc[0, 1], arc[1, 0] = d * w0 * w1 - w2, d * w0 * w1 + w2
    arc[0, 2], arc[2, 0] = d * w0 * w2 + w1, d * w0 * w2 - w1
    arc[1, 2], arc[2, 1] = d * w1 * w2 - w0, d * w1 * w2 + w0
    _matmul(arc, bone, work[1])
    _matmul_transposed(work[1], apose, frame)
    for m in range(N_BETAS):
        along = v0 * dt[0, m] + v1 * dt[1, m] + v2 * dt[2, m]
        e0, e1, e2 = (dt[0, m] - v0 * along) / n, (dt[1, m] - v1 * along) / n, (dt[2, m] - v2 * along) / n
        ue = u[0] * e0 + u[1] * e1 + u[2] * e2
        ve = u[0] * (v1 * e2 - v2 * e1) + u[1] * (v2 * e0 - v0 * e2) + u[2] * (v0 * e1 - v1 * e0)
        spin[0, m] = u[1] * e2 - u[2] * e1 + d * (u[0] * ve - ue * w0)
        spin[1, m] = u[2] * e0 - u[0] * e2 + d * (u[1] * ve - ue * w1)
        spin[2, m] = u[0] * e1 - u[1] * e0 + d * (u[2] * ve - ue * w2)


@compiled()
def _matmul_transposed(a, b, out):
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[j, 0] + a[i, 1] * b[j, 1] + a[i, 2] * b[j, 2]


@compiled()
def _spine(b, x, length, d_length, trans, by_dof, by_beta):
    cos_b, cos_x = np.sin(b / 2) * _sinc(b / 2), np.sin(x / 2) * _sinc(x / 2)
    arc0, arc1, arc2 = -cos_b, (_sinc(b) - 1) + (_sinc(x) - 1), -cos_x
    trans[0] += length * arc0
    trans[1] += length * arc1
    trans[2] += length * arc2
    half_b, half_x = _sinc(b / 2), _sinc(x / 2)
    by_dof[0, 0], by_dof[1, 0] = -length * (_sinc(b) - half_b * half_b / 2), length * _sinc_slope(b)
    by_dof[1, 1], by_dof[2, 1] = length * _sinc_slope(x), -length * (_sinc(x) - half_x * half_x / 2)
    for m in range(N_BETAS):
        by_beta[0, m] += arc0 * d_length[m]
        by_beta[1, m] += arc1 * d_length[m]
        by_beta[2, m] += arc2 * d_length[m]


@compiled()
def _scapula(abduction, elevation, side, width, height, d_width, d_height, trans, by_dof, by_beta):
    a, e = side * abduction, side * elevation - pi / 4
    w0, w2 = -side * (np.cos(e) * np.cos(a) - _COS0) / 4, np.sin(a) / 4
    h1 = -(np.sin(e) - _SIN0) / 2
    trans[0] += width * w0
    trans[1] += height * h1
    trans[2] += width * w2
    by_dof[0, 0], by_dof[2, 0] = width / 4 * np.cos(e) * np.sin(a), side * width / 4 * np.cos(a)
    by_dof[0, 1], by_dof[1, 1] = width / 4 * np.sin(e) * np.cos(a), -side * height / 2 * np.cos(e)
    for m in range(N_BETAS):
        by_beta[0, m] += w0 * d_width[m]
        by_beta[1, m] += h1 * d_height[m]
        by_beta[2, m] += w2 * d_width[m]


@compiled()
def _distance_slope(joints, joint_dirs, i, k, slope):
    x, y, z = joints[i, 0] - joints[k, 0], joints[i, 1] - joints[k, 1], joints[i, 2] - joints[k, 2]
    n = np.sqrt(x * x + y * y + z * z)
    for m in range(N_BETAS):
        slope[m] = (
            x * (joint_dirs[i, 0, m] - joint_dirs[k, 0, m])
            + y * (joint_dirs[i, 1, m] - joint_dirs[k, 1, m])
            + z * (joint_dirs[i, 2, m] - joint_dirs[k, 2, m])
        ) / n
    return n


@compiled()
def _kinematics(q, betas, t, s):
    """Fill the scratch `s` of one person: rest pose, joint motion, world transforms and their derivatives."""
    (joints, rel, d_rel, frames, spin, rotations, axes_local, trans, trans_dof, trans_beta, world, position) = s[:12]
    (axes, shifts, spin_world, shift_beta, work, slope_a, slope_b) = s[12:19]
    (joint_template, joint_dirs, bone_rotations, apose_rotations, dof_axes, sources, turned) = t[:7]
    for j in range(N_JOINTS):
        for c in range(3):
            value = joint_template[j, c]
            for m in range(N_BETAS):
                value += joint_dirs[j, c, m] * betas[m]
            joints[j, c] = value
    for j in range(N_JOINTS):
        p = _PARENT[j]
        for c in range(3):
            rel[j, c] = joints[j, c] - (joints[p, c] if p >= 0 else 0.0)
            for m in range(N_BETAS):
                d_rel[j, c, m] = joint_dirs[j, c, m] - (joint_dirs[p, c, m] if p >= 0 else 0.0)
    target, d_target = work[5], work[6]
    d_target = s[19]
    for j in range(N_JOINTS):
        first, second = _CHILD[j, 0], _CHILD[j, 1]
        for c in range(3):
            target[0, c] = rel[first, c] + (rel[second, c] if second >= 0 else 0.0)
            for m in range(N_BETAS):
                d_target[c, m] = d_rel[first, c, m] + (d_rel[second, c, m] if second >= 0 else 0.0)
        _arc_and_spin(
            sources[j],
            target[0],
            d_target,
            bone_rotations[j],
            apose_rotations[j],
            turned[j] > 0,
            frames[j],
            spin[j],
            work,
        )
    for j in range(N_JOINTS):
        _joint_motion(j, q, frames[j], dof_axes[j], rotations[j], axes_local[j], work)
        trans[j] = rel[j]
        trans_beta[j] = d_rel[j]
        trans_dof[j] = 0
    for j in (11, 12, 13):
        d = _FIRST_DOF[j]
        sign = 1.0 if rel[j, 1] >= 0 else -1.0
        for m in range(N_BETAS):
            slope_a[m] = sign * d_rel[j, 1, m]
        _spine(q[d], q[d + 1], abs(rel[j, 1]), slope_a, trans[j], trans_dof[j], trans_beta[j])
    width = _distance_slope(joints, joint_dirs, 19, 14, slope_a)
    height = _distance_slope(joints, joint_dirs, 12, 11, slope_b)
    _scapula(q[26], q[27], 1.0, width, height, slope_a, slope_b, trans[14], trans_dof[14], trans_beta[14])
    _scapula(q[36], q[37], -1.0, width, height, slope_a, slope_b, trans[19], trans_dof[19], trans_beta[19])
    for j in range(N_JOINTS):
        _to_world(j, rotations, trans, world, position, axes_local, axes, trans_dof, shifts)
        _shape_to_world(j, rotations, world, spin, spin_world, trans_beta, shift_beta)


@compiled()
def _joint_motion(j, q, frame, dof_axes, rotation, axes_local, work):
    """R = M Rp M^T and the spin axes of the dofs in the parent's frame."""
    n, d = _N_DOFS[j], _FIRST_DOF[j]
    rp, slot, product = work[2], work[3], work[4]
    for a in range(3):
        for b in range(3):
            rp[a, b] = 1.0 if a == b else 0.0
    for i in range(n - 1, -1, -1):
        # rp = R_n ... R_{i+1} so far: what turns the axis of dof i
        for c in range(3):
            work[1, 0, c] = rp[c, 0] * dof_axes[i, 0] + rp[c, 1] * dof_axes[i, 1] + rp[c, 2] * dof_axes[i, 2]
        for c in range(3):
            axes_local[c, i] = frame[c, 0] * work[1, 0, 0] + frame[c, 1] * work[1, 0, 1] + frame[c, 2] * work[1, 0, 2]
        _axis_rotation(dof_axes[i], q[d + i], slot)
        _matmul(rp, slot, product)
        rp[:] = product
    _matmul(frame, rp, product)
    _matmul_transposed(product, frame, rotation)


@compiled()
def _to_world(j, rotations, trans, world, position, axes_local, axes, trans_dof, shifts):
    p, n = _PARENT[j], _N_DOFS[j]
    if p < 0:
        world[j] = rotations[j]
        position[j] = trans[j]
        for c in range(3):
            for i in range(n):
                axes[j, i, c], shifts[j, i, c] = axes_local[j, c, i], trans_dof[j, c, i]
        return
    _matmul(world[p], rotations[j], world[j])
    for c in range(3):
        g0, g1, g2 = world[p, c, 0], world[p, c, 1], world[p, c, 2]
        position[j, c] = position[p, c] + g0 * trans[j, 0] + g1 * trans[j, 1] + g2 * trans[j, 2]
        for i in range(n):
            axes[j, i, c] = g0 * axes_local[j, 0, i] + g1 * axes_local[j, 1, i] + g2 * axes_local[j, 2, i]
            shifts[j, i, c] = g0 * trans_dof[j, 0, i] + g1 * trans_dof[j, 1, i] + g2 * trans_dof[j, 2, i]


@compiled()
def _shape_to_world(j, rotations, world, spin, spin_world, trans_beta, shift_beta):
    """spin_j - R_j spin_j (left in `spin`) and the joint's shape displacement, turned to the world by the parent."""
    p, r = _PARENT[j], rotations[j]
    for m in range(N_BETAS):
        a, b, c = spin[j, 0, m], spin[j, 1, m], spin[j, 2, m]
        spin[j, 0, m] = a - (r[0, 0] * a + r[0, 1] * b + r[0, 2] * c)
        spin[j, 1, m] = b - (r[1, 0] * a + r[1, 1] * b + r[1, 2] * c)
        spin[j, 2, m] = c - (r[2, 0] * a + r[2, 1] * b + r[2, 2] * c)
    for c in range(3):
        for m in range(N_BETAS):
            if p < 0:
                spin_world[j, c, m], shift_beta[j, c, m] = spin[j, c, m], trans_beta[j, c, m]
            else:
                g0, g1, g2 = world[p, c, 0], world[p, c, 1], world[p, c, 2]
                spin_world[j, c, m] = g0 * spin[j, 0, m] + g1 * spin[j, 1, m] + g2 * spin[j, 2, m]
                shift_beta[j, c, m] = g0 * trans_beta[j, 0, m] + g1 * trans_beta[j, 1, m] + g2 * trans_beta[j, 2, m]


@compiled()
def _turning(axis, rotation, out):
    """[axis]x rotation, flattened: the change of the rotation matrix per unit of spin."""
    a0, a1, a2 = axis[0], axis[1], axis[2]
    for c in range(3):
        r0, r1, r2 = rotation[0, c], rotation[1, c], rotation[2, c]
        out[c], out[3 + c], out[6 + c] = a1 * r2 - a2 * r1, a2 * r0 - a0 * r2, a0 * r1 - a1 * r0


@compiled()
def _person(q, betas, t, s, points, by_q, by_betas):
    _kinematics(q, betas, t, s)
    rotations, axes_local, world, position = s[5], s[6], s[10], s[11]
    spin, axes, shifts, spin_world, shift_beta = s[4], s[12], s[13], s[14], s[15]
    pairs, moments, sums, turn_dof, turn_beta = s[20], s[21], s[22], s[23], s[24]
    (pair_keypoint, pair_bone, pair_mass, pair_point, pair_shape, pair_moments) = t[7:13]
    (moment_keypoint, moment_joint, moment_mass) = t[13:16]
    (block_pair, block_joint, block_sum, coefficients, sum_keypoint, sum_joint) = t[16:22]
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
        _add_block(coefficients[i], rotations[block_joint[i]], world[pair_bone[block_pair[i]]], pairs[block_pair[i]],
                   sums[block_sum[i]])  # fmt: skip
    moments[:] = 0
    for p in range(len(pair_bone)):
        _add_pair(p, pair_keypoint, pair_bone, pair_mass, pair_shape, pair_moments, world, position, pairs, points,
                  by_betas, moments)  # fmt: skip
    for i in range(len(moment_joint)):
        _add_moment(moment_keypoint[i], moment_joint[i], moment_mass[i], moments[i], position, axes, shifts, spin_world,
                    shift_beta, by_q, by_betas)  # fmt: skip
    for j in range(N_JOINTS):
        for i in range(_N_DOFS[j]):
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
    d = _FIRST_DOF[j]
    for i in range(_N_DOFS[j]):
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
    d = _FIRST_DOF[j]
    for c in range(3):
        for i in range(_N_DOFS[j]):
            value = 0.0
            for n in range(9):
                value += total[c, n] * turn_dof[j, i, n]
            by_q[k, c, d + i] += value
        for m in range(N_BETAS):
            value = 0.0
            for n in range(9):
                value += total[c, n] * turn_beta[j, m, n]
            by_betas[k, c, m] += value


@compiled()
def _scratch(n_pairs, n_moments, n_sums, like):
    j, z = N_JOINTS, like.dtype
    return (
        np.zeros((j, 3), z), np.zeros((j, 3), z), np.zeros((j, 3, N_BETAS), z), np.zeros((j, 3, 3), z),
        np.zeros((j, 3, N_BETAS), z), np.zeros((j, 3, 3), z), np.zeros((j, 3, 3), z), np.zeros((j, 3), z),
        np.zeros((j, 3, 3), z), np.zeros((j, 3, N_BETAS), z), np.zeros((j, 3, 3), z), np.zeros((j, 3), z),
        np.zeros((j, 3, 3), z), np.zeros((j, 3, 3), z), np.zeros((j, 3, N_BETAS), z), np.zeros((j, 3, N_BETAS), z),
        np.zeros((8, 3, 3), z), np.zeros(N_BETAS, z), np.zeros(N_BETAS, z), np.zeros((3, N_BETAS), z),
        np.zeros((n_pairs, 3), z), np.zeros((n_moments, 3), z), np.zeros((n_sums, 3, 9), z),
        np.zeros((j, 3, 9), z), np.zeros((j, N_BETAS, 9), z),
    )  # fmt: skip


@compiled(nogil=True)
def _people(first, last, q, betas, t, points, by_q, by_betas):
    s = _scratch(len(t[8]), len(t[14]), len(t[20]), q)
    for i in range(first, last):
        _person(q[i], betas[i], t, s, points[i], by_q[i], by_betas[i])


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
    q: Array, betas: Array, tables: KeypointTables, n_keypoints: int, threads: int
) -> tuple[Array, Array, Array]:
    """X (B, K, 3), dX/dq (B, K, 3, 46), dX/dbetas (B, K, 3, 10) of q (B, 46), betas (B, 10)."""
    count = len(q)
    points = np.empty((count, n_keypoints, 3), q.dtype)
    by_q, by_betas = np.empty((*points.shape, N_Q), q.dtype), np.empty((*points.shape, N_BETAS), q.dtype)
    constants = tuple(vars(tables).values())

    def work(first: int, last: int) -> None:
        _people(first, last, q, betas, constants, points, by_q, by_betas)

    in_chunks(work, count, threads)
    return points, by_q, by_betas
