"""Joint motion of one person in compiled form: rest pose, world transforms and their derivatives.

The same mathematics as `pipeline.body.kinematics`, which serves the GPU and checks this one.
"""

from math import pi

import numpy as np

from pipeline.body import kinematics
from pipeline.body.representation import Q_OF_JOINT
from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_BETAS, N_JOINTS, PARENTS

FIRST_DOF = np.array([ids[0] for ids in Q_OF_JOINT], dtype=np.int64)
N_DOFS = np.array([len(ids) for ids in Q_OF_JOINT], dtype=np.int64)
"""Of a joint: its first q, and how many it has."""

_CHILD = np.array(kinematics.child_table(), dtype=np.int64)
_PARENT = np.array(PARENTS, dtype=np.int64)
_COS0, _SIN0 = float(np.cos(pi / 4)), float(np.sin(-pi / 4))


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
def _arc_and_spin(u, t, dt, bone, apose, turned, frame, spin, arc, turned_bone):
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
    arc[0, 0], arc[1, 1], arc[2, 2] = 1 + d * (w0 * w0 - ww), 1 + d * (w1 * w1 - ww), 1 + d * (w2 * w2 - ww)
    arc[0, 1], arc[1, 0] = d * w0 * w1 - w2, d * w0 * w1 + w2
    arc[0, 2], arc[2, 0] = d * w0 * w2 + w1, d * w0 * w2 - w1
    arc[1, 2], arc[2, 1] = d * w1 * w2 - w0, d * w1 * w2 + w0
    _matmul(arc, bone, turned_bone)
    _matmul_transposed(turned_bone, apose, frame)
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
def move_joints(q, betas, tables, scratch):
    """Fill the scratch of one person up to `shift_beta`."""
    # taken out once: every access to a field counts a reference, which costs a third of the time inside the loops
    s, work = scratch, scratch.work
    joints, rel, d_rel, frames, spin = s.joints, s.rel, s.d_rel, s.frames, s.spin
    rotations, axes_local, trans, trans_dof, trans_beta = s.rotations, s.axes_local, s.trans, s.trans_dof, s.trans_beta
    world, position, axes, shifts = s.world, s.position, s.axes, s.shifts
    spin_world, shift_beta = s.spin_world, s.shift_beta
    slope, d_width, d_height = work.d_length, work.d_width, work.d_height
    before, turn, product, axis = work.before, work.turn, work.product, work.axis
    joint_dirs, dof_axes = tables.joint_dirs, tables.axes
    _rest_joints(betas, tables.joint_template, joint_dirs, joints, rel, d_rel)
    _rest_frames(tables, rel, d_rel, frames, spin, work)
    for j in range(N_JOINTS):
        _joint_motion(j, q, frames[j], dof_axes[j], rotations[j], axes_local[j], before, turn, product, axis)
        trans[j] = rel[j]
        trans_beta[j] = d_rel[j]
        trans_dof[j] = 0
    for j in (11, 12, 13):
        d = FIRST_DOF[j]
        sign = 1.0 if rel[j, 1] >= 0 else -1.0
        for m in range(N_BETAS):
            slope[m] = sign * d_rel[j, 1, m]
        _spine(q[d], q[d + 1], abs(rel[j, 1]), slope, trans[j], trans_dof[j], trans_beta[j])
    width = _distance_slope(joints, joint_dirs, 19, 14, d_width)
    height = _distance_slope(joints, joint_dirs, 12, 11, d_height)
    _scapula(q[26], q[27], 1.0, width, height, d_width, d_height, trans[14], trans_dof[14], trans_beta[14])
    _scapula(q[36], q[37], -1.0, width, height, d_width, d_height, trans[19], trans_dof[19], trans_beta[19])
    for j in range(N_JOINTS):
        _to_world(j, rotations, trans, world, position, axes_local, axes, trans_dof, shifts)
        _shape_to_world(j, rotations, world, spin, spin_world, trans_beta, shift_beta)


@compiled()
def _rest_joints(betas, joint_template, joint_dirs, joints, rel, d_rel):
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


@compiled()
def _rest_frames(tables, rel, d_rel, frames, spin, work):
    t, target, d_target, arc, turned_bone = tables, work.target, work.d_target, work.arc, work.turned_bone
    sources, bone_rotations, apose_rotations, turned = t.sources, t.bone_rotations, t.apose_rotations, t.turned
    for j in range(N_JOINTS):
        first, second = _CHILD[j, 0], _CHILD[j, 1]
        for c in range(3):
            target[c] = rel[first, c] + (rel[second, c] if second >= 0 else 0.0)
            for m in range(N_BETAS):
                d_target[c, m] = d_rel[first, c, m] + (d_rel[second, c, m] if second >= 0 else 0.0)
        bone, apose = bone_rotations[j], apose_rotations[j]
        _arc_and_spin(sources[j], target, d_target, bone, apose, turned[j] > 0, frames[j], spin[j], arc, turned_bone)


@compiled()
def _joint_motion(j, q, frame, dof_axes, rotation, axes_local, before, turn, product, axis):
    """R = M Rp M^T and the spin axes of the dofs in the parent's frame."""
    n, d = N_DOFS[j], FIRST_DOF[j]
    for a in range(3):
        for b in range(3):
            before[a, b] = 1.0 if a == b else 0.0
    for i in range(n - 1, -1, -1):
        # before = R_n ... R_{i+1} so far: what turns the axis of dof i
        for c in range(3):
            axis[c] = before[c, 0] * dof_axes[i, 0] + before[c, 1] * dof_axes[i, 1] + before[c, 2] * dof_axes[i, 2]
        for c in range(3):
            axes_local[c, i] = frame[c, 0] * axis[0] + frame[c, 1] * axis[1] + frame[c, 2] * axis[2]
        _axis_rotation(dof_axes[i], q[d + i], turn)
        _matmul(before, turn, product)
        before[:] = product
    _matmul(frame, before, product)
    _matmul_transposed(product, frame, rotation)


@compiled()
def _to_world(j, rotations, trans, world, position, axes_local, axes, trans_dof, shifts):
    p, n = _PARENT[j], N_DOFS[j]
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
