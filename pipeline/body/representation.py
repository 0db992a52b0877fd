"""SKEL pose q as rotations and as HSMR's continuous 24x6 representation; mirrored, turned (docs/body_model.md)."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.rotations import bounded_atan2, euler_from_matrix, rotation_about, rotation_from_6d
from schemas.skel import DOFS, N_JOINTS, N_Q, mirror_table

Q = Float[Tensor, "*B 46"]
Rotations = Float[Tensor, "*B 24 3 3"]
Representation = Float[Tensor, "*B 24 6"]

Q_OF_JOINT: tuple[tuple[int, ...], ...] = tuple(
    tuple(i for i, dof in enumerate(DOFS) if dof.joint == joint) for joint in range(N_JOINTS)
)
_EULER_ORDER = {
    0: "YXZ",
    1: "YXZ",
    6: "YXZ",
    11: "YZX",
    12: "YZX",
    13: "YZX",
    14: "XZY",
    19: "XZY",
    15: "ZYX",
    20: "ZYX",
}
_EULER_SIGN = {6: (1.0, -1.0, -1.0), 14: (1.0, -1.0, -1.0)}
_TWO_DOF = (18, 23)
_AXES_OF_JOINT = tuple(tuple(DOFS[i].axis for i in ids) for ids in Q_OF_JOINT)


def padded_axes(like: Float[Tensor, "..."]) -> Float[Tensor, "24 3 3"]:
    """Axis of each dof slot of each joint; unused slots hold x with an angle that is always zero."""
    axes = torch.zeros(N_JOINTS, 3, 3, dtype=like.dtype, device=like.device)
    axes[..., 0] = 1
    for joint, joint_axes in enumerate(_AXES_OF_JOINT):
        for slot, axis in enumerate(joint_axes):
            axes[joint, slot] = torch.tensor(axis, dtype=like.dtype)
    return axes


def padded_slots() -> list[int]:
    """For each of the 46 q, its place in the flattened (24 joints, 3 slots) layout."""
    return [3 * joint + slot for joint, ids in enumerate(Q_OF_JOINT) for slot in range(len(ids))]


def pad_q(q: Q) -> Float[Tensor, "*B 24 3"]:
    """q laid out as (joint, slot), zero where a joint has fewer than three dofs."""
    padded = q.new_zeros(*q.shape[:-1], N_JOINTS * 3)
    padded[..., padded_slots()] = q
    return padded.reshape(*q.shape[:-1], N_JOINTS, 3)


def q_to_rotations(q: Q) -> Rotations:
    """Joint rotations Rp = R(a_n, q_n) ... R(a_1, q_1): the first q of a joint is applied first."""
    slots = rotation_about(padded_axes(q).expand(*q.shape[:-1], N_JOINTS, 3, 3), pad_q(q))
    return slots[..., 2, :, :] @ slots[..., 1, :, :] @ slots[..., 0, :, :]


def rotations_to_q(rp: Rotations) -> Q:
    """q of joint rotations. For joints with fewer than three dofs only the part they can express is read."""
    q = rp.new_zeros(*rp.shape[:-3], N_Q)
    for joint, ids in enumerate(Q_OF_JOINT):
        q[..., list(ids)] = _joint_q(rp[..., joint, :, :], joint)
    return q


def _joint_q(r: Tensor, joint: int) -> Tensor:
    if joint in _EULER_ORDER:
        angles = euler_from_matrix(r, _EULER_ORDER[joint]).flip(-1)
        return angles * angles.new_tensor(_EULER_SIGN.get(joint, (1.0, 1.0, 1.0)))
    if joint in _TWO_DOF:
        return _universal_angles(r, joint)
    axis = r.new_tensor(_AXES_OF_JOINT[joint][0])
    return _twist(r, axis)[..., None]


def orientation_q(rp: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """First three q of the pelvis rotation Rp (in its own O-like frame)."""
    return _joint_q(rp, 0)


def _twist(r: Tensor, axis: Tensor) -> Tensor:
    """Angle of the rotation about `axis` that is nearest to r in the Frobenius norm."""
    vee = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1)
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2((vee * axis).sum(-1), trace - (r @ axis * axis).sum(-1))


def _universal_angles(r: Tensor, joint: int) -> Tensor:
    """Wrist: Rp = R(-z, q2) R(+-x, q1); angles of the ZYX decomposition with its (small) y part dropped."""
    angles = euler_from_matrix(r, "ZYX")
    first, second = _AXES_OF_JOINT[joint]
    return torch.stack([angles[..., 2] * first[0], angles[..., 0] * second[2]], -1)


def q_to_representation(q: Q) -> Representation:
    """HSMR's continuous representation: 6D rows for 3-dof joints, (cos q, -sin q) for hinges, q itself for wrists."""
    rp = q_to_rotations(q)
    rep = q.new_zeros(*q.shape[:-1], N_JOINTS, 6)
    for joint, ids in enumerate(Q_OF_JOINT):
        if joint in _EULER_ORDER:
            rep[..., joint, :] = rp[..., joint, :2, :].flatten(-2)
        elif joint in _TWO_DOF:
            rep[..., joint, :2] = q[..., list(ids)]
        else:
            rep[..., joint, 0] = torch.cos(q[..., ids[0]])
            rep[..., joint, 1] = -torch.sin(q[..., ids[0]])
    return rep


def representation_to_q(rep: Representation) -> Q:
    """Inverse of `q_to_representation` up to the middle Euler angle's range.

    Finite for every finite input, and so is its gradient: bounded at the gimbal and for degenerate 6D vectors.
    """
    angles = _euler_joints_q(rep)
    parts: list[Tensor] = []
    for joint, ids in enumerate(Q_OF_JOINT):
        if joint in _EULER_ORDER:
            parts.append(angles[joint])
        elif joint in _TWO_DOF:
            parts.append(rep[..., joint, : len(ids)])
        else:
            parts.append(bounded_atan2(-rep[..., joint, 1], rep[..., joint, 0])[..., None])
    return torch.cat(parts, -1)


def _euler_joints_q(rep: Representation) -> dict[int, Tensor]:
    """q (..., 3) of each 3-dof joint; all joints of one Euler order at once."""
    found: dict[int, Tensor] = {}
    for order in sorted(set(_EULER_ORDER.values())):
        joints = [joint for joint in _EULER_ORDER if _EULER_ORDER[joint] == order]
        angles = euler_from_matrix(rotation_from_6d(rep[..., joints, :]), order).flip(-1)
        signs = angles.new_tensor([_EULER_SIGN.get(joint, (1.0, 1.0, 1.0)) for joint in joints])
        found |= zip(joints, (angles * signs).unbind(-2), strict=True)
    return found


def orientation_to_matrix(q: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """SMPL-like global rotation of the first three q: Ry(q2) Rz(q1) Rx(-q0), S-axes."""
    x, y, z = torch.eye(3, dtype=q.dtype, device=q.device)
    turn = [(y, q[..., 2]), (z, q[..., 1]), (x, -q[..., 0])]
    ry, rz, rx = (rotation_about(axis.expand(*angle.shape, 3), angle) for axis, angle in turn)
    return ry @ rz @ rx


def matrix_to_orientation(r: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """First three q of an SMPL-like global rotation (inverse of `orientation_to_matrix`)."""
    y, z, x = euler_from_matrix(r, "YZX").unbind(-1)
    return torch.stack([-x, z, y], -1)


def turn_pelvis(q: Q, rotation: Float[Tensor, "*B 3 3"]) -> Q:
    """Pose of the same person in other axes: `rotation` takes the camera axes that q holds in to the new ones."""
    turned = matrix_to_orientation(rotation @ orientation_to_matrix(q[..., :3]))
    return torch.cat([turned, q[..., 3:]], -1)


def mirror_q(q: Q) -> Q:
    """The pose seen in a mirror (left and right exchanged)."""
    source, sign = mirror_table()
    return q[..., source.tolist()] * torch.as_tensor(sign, dtype=q.dtype, device=q.device)


def turn_in_image_plane(q: Q, angle: Float[Tensor, "*B"]) -> Q:
    """Pose of the person when the image is turned by `angle` rad: Rx(-angle) onto Ry(q2) Rx(q1) Rz(q0) in O-axes."""
    x, y, z = torch.eye(3, dtype=q.dtype, device=q.device)
    turns = [(x, -angle), (y, q[..., 2]), (x, q[..., 1]), (z, q[..., 0])]
    turn, ry, rx, rz = (rotation_about(axis.expand(*a.shape, 3), a) for axis, a in turns)
    yxz = euler_from_matrix(turn @ ry @ rx @ rz, "YXZ")
    return torch.cat([yxz.flip(-1), q[..., 3:]], -1)
