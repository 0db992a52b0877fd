"""SKEL kinematics: from betas to rest frames, from q to bone transforms, with derivatives (docs/body_model.md).

Everything is batched over people (B) and written per joint, never per vertex. Rotation derivatives are spin vectors:
d(R)/dp = skew(spin_p) R.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.representation import Q_OF_JOINT, pad_q, padded_axes, padded_slots
from pipeline.body.rotations import (
    cosc,
    cosc_derivative,
    rotation_about,
    shortest_arc,
    shortest_arc_spin,
    sinc,
    sinc_derivative,
)
from schemas.skel import N_JOINTS, PARENTS

SPINE = (11, 12, 13)
SCAPULA_R, SCAPULA_L = 14, 19
_UNTURNED = (0, 5, 10, 13, 18, 23)  # the pelvis and all leaves keep L
_PARENT_OR_ROOT = [max(parent, 0) for parent in PARENTS]


def _levels() -> tuple[tuple[int, ...], ...]:
    depth = [0] * N_JOINTS
    for joint in range(1, N_JOINTS):
        depth[joint] = depth[PARENTS[joint]] + 1
    return tuple(tuple(j for j in range(N_JOINTS) if depth[j] == level) for level in range(max(depth) + 1))


LEVELS = _levels()
"""Joints by depth in the tree, so that one batched product does a whole level."""


@cache
def subtree_table() -> tuple[tuple[bool, ...], ...]:
    """table[j][b]: does bone b move with joint j?"""
    table = [[j == b for b in range(N_JOINTS)] for j in range(N_JOINTS)]
    for b in range(1, N_JOINTS):
        for j in range(N_JOINTS):
            table[j][b] = table[j][b] or table[j][PARENTS[b]]
    return tuple(tuple(row) for row in table)


def _children() -> list[int]:
    return [next((c for c in range(1, N_JOINTS) if PARENTS[c] == j), 0) for j in range(N_JOINTS)]


def child_table() -> list[tuple[int, int]]:
    """The rest offsets that add up to each bone's target t_j: (first, second), second -1 for none."""
    table = [(child, -1) for child in _children()]
    table[16], table[21], table[12] = (17, 18), (22, 23), (12, -1)
    return table


def bone_targets(rel: Float[Tensor, "B 24 *D"]) -> Float[Tensor, "B 24 *D"]:
    """t_j: the rest vector that bone j points along, from joint offsets `rel` (B, 24, ...)."""
    first, second = (list(column) for column in zip(*child_table(), strict=True))
    target = rel[:, first].clone()
    double = [j for j in range(N_JOINTS) if second[j] >= 0]
    target[:, double] += rel[:, [second[j] for j in double]]
    return target


def bone_sources(apose_offsets: Float[Tensor, "24 3"]) -> Float[Tensor, "24 3"]:
    """s_j: the A-pose vector that bone j points along; s_12 stays a_13 although t_12 = rel_12 (part of the model)."""
    source = apose_offsets[_children()].clone()
    source[16], source[21] = apose_offsets[17] + apose_offsets[18], apose_offsets[22] + apose_offsets[23]
    return source


@dataclass(frozen=True)
class Rig:
    """Constants of the kinematics as tensors: joints = joint_template (24, 3) + joint_dirs (24, 3, 10) betas, m;
    bone_rotations L and apose_rotations A (24, 3, 3); sources s (24, 3) already turned by L.
    """

    joint_template: Float[Tensor, "24 3"]
    joint_dirs: Float[Tensor, "24 3 10"]
    bone_rotations: Float[Tensor, "24 3 3"]
    apose_rotations: Float[Tensor, "24 3 3"]
    sources: Float[Tensor, "24 3"]

    @cached_property
    def axes(self) -> Float[Tensor, "24 3 3"]:
        """(24, 3, 3) dof axes by joint and slot."""
        return padded_axes(self.joint_template)

    @cached_property
    def turned(self) -> Float[Tensor, "24"]:
        """(24,) 1 where the bone is turned to its target by the betas, 0 for the pelvis and the leaves."""
        mask = torch.ones(N_JOINTS, dtype=self.sources.dtype, device=self.sources.device)
        mask[list(_UNTURNED)] = 0
        return mask


@dataclass(frozen=True)
class RestPose:
    """Shape-dependent T-pose: joints and rel (B, 24, 3) m, bones B_j (B, 24, 3, 3), frames M_j = B_j A_j^T."""

    joints: Float[Tensor, "B 24 3"]
    rel: Float[Tensor, "B 24 3"]
    bones: Float[Tensor, "B 24 3 3"]
    frames: Float[Tensor, "B 24 3 3"]


@dataclass(frozen=True)
class RestSpin:
    """Derivative of the rest pose in betas: joints and rel (B, 24, 3, 10), spin of B_j and M_j (B, 24, 3, 10)."""

    joints: Float[Tensor, "B 24 3 10"]
    rel: Float[Tensor, "B 24 3 10"]
    spin: Float[Tensor, "B 24 3 10"]


def offsets(joints: Float[Tensor, "B 24 *D"]) -> Float[Tensor, "B 24 *D"]:
    """rel_j = J_j - J_parent(j), rel_0 = J_0; joints (B, 24, ...)."""
    rel = joints - joints[:, _PARENT_OR_ROOT]
    return torch.cat([joints[:, :1], rel[:, 1:]], 1)


def rest_pose(rig: Rig, betas: Float[Tensor, "B 10"], joint_offsets: Float[Tensor, "B 24 3"] | None = None) -> RestPose:
    """T-pose joints and bone orientations of a shape; `joint_offsets` (B, 24, 3) m is added to the joints."""
    joints = rig.joint_template + torch.einsum("jcs,bs->bjc", rig.joint_dirs, betas)
    if joint_offsets is not None:
        joints = joints + joint_offsets
    rel = offsets(joints)
    arcs = shortest_arc(rig.sources.expand_as(rel), bone_targets(rel))
    eye = torch.eye(3, dtype=arcs.dtype, device=arcs.device)
    arcs = torch.where(rig.turned[:, None, None] > 0, arcs, eye)
    bones = arcs @ rig.bone_rotations
    return RestPose(joints, rel, bones, bones @ rig.apose_rotations.mT)


def rest_spin(rig: Rig, rest: RestPose) -> RestSpin:
    """Derivative of `rest_pose` in betas."""
    joints = rig.joint_dirs.expand(rest.joints.shape[0], -1, -1, -1)
    rel = offsets(joints)
    spin = shortest_arc_spin(rig.sources.expand_as(rest.rel), bone_targets(rest.rel), bone_targets(rel))
    return RestSpin(joints, rel, spin * rig.turned[:, None, None])


@dataclass(frozen=True)
class LocalMotion:
    """Joint motion in the parent's frame: rotations R_j (B, 24, 3, 3), translations t_j (B, 24, 3) m."""

    rotations: Float[Tensor, "B 24 3 3"]
    translations: Float[Tensor, "B 24 3"]


@dataclass(frozen=True)
class LocalSpin:
    """Derivatives of the joint motion by dof slot: spin axes (B, 24, 3 xyz, 3 slots) and translations, same layout."""

    axes: Float[Tensor, "B 24 3 3"]
    translations: Float[Tensor, "B 24 3 3"]


def local_motion(rig: Rig, rest: RestPose, q: Float[Tensor, "B 46"]) -> LocalMotion:
    """R_j = M_j Rp_j M_j^T and t_j = rel_j + spine and scapula displacements."""
    angles = pad_q(q)
    slots = rotation_about(rig.axes.expand(*angles.shape[:2], 3, 3), angles)
    rp = slots[:, :, 2] @ slots[:, :, 1] @ slots[:, :, 0]
    rotations = rest.frames @ rp @ rest.frames.mT
    moved = {**_spine_displacement(rest, angles), **_scapula_displacement(rest, angles)}
    shift = [moved.get(j, torch.zeros_like(rest.rel[:, j])) for j in range(N_JOINTS)]
    return LocalMotion(rotations, rest.rel + torch.stack(shift, 1))


def local_spin(rig: Rig, rest: RestPose, q: Float[Tensor, "B 46"]) -> LocalSpin:
    """Spin axis of every dof slot in the parent's frame: M_j R(a_n) ... R(a_{d+1}) a_d, and d(t_j)/dq."""
    angles = pad_q(q)
    slots = rotation_about(rig.axes.expand(*angles.shape[:2], 3, 3), angles)
    third = rig.axes[:, 2].expand(*angles.shape[:2], 3)
    second = slots[:, :, 2] @ rig.axes[:, 1, :, None]
    first = slots[:, :, 2] @ slots[:, :, 1] @ rig.axes[:, 0, :, None]
    axes = rest.frames @ torch.cat([first, second, third[..., None]], -1)
    return LocalSpin(axes, _translation_derivatives(rest, angles))


def spine_lengths(rest: RestPose) -> Float[Tensor, "B 3"]:
    """l (B, 3): vertical distance of lumbar, thorax and head to their parents, m."""
    return rest.rel[:, list(SPINE), 1].abs()


def scapula_extent(rest: RestPose) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """W = |J_19 - J_14| and H = |J_12 - J_11| (B,), m."""
    joints = rest.joints
    return (joints[:, 19] - joints[:, 14]).norm(dim=-1), (joints[:, 12] - joints[:, 11]).norm(dim=-1)


def spine_arc(b: Float[Tensor, "*B"], x: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3"]:
    """Displacement per unit length of a spine joint bent by b and extended by x, in the well-conditioned form."""
    return torch.stack([-cosc(b), (sinc(b) - 1) + (sinc(x) - 1), -cosc(x)], -1)


def scapula_arc(a: Float[Tensor, "*B"], e: Float[Tensor, "*B"]) -> tuple[Float[Tensor, "*B 3"], Float[Tensor, "*B 3"]]:
    """Displacement of the right scapula: (per unit W, per unit H), each (B, 3)."""
    shifted, zero = e - pi / 4, torch.zeros_like(a)
    cos0, sin0 = torch.cos(a.new_tensor(pi / 4)), torch.sin(a.new_tensor(-pi / 4))
    width = torch.stack([-(torch.cos(shifted) * torch.cos(a) - cos0) / 4, zero, torch.sin(a) / 4], -1)
    height = torch.stack([zero, -(torch.sin(shifted) - sin0) / 2, zero], -1)
    return width, height


def _scapula_angles(angles: Tensor, joint: int) -> tuple[Tensor, Tensor, Tensor]:
    """(a, e, x sign) as the right scapula would have them: the left one is its mirror image."""
    side = 1.0 if joint == SCAPULA_R else -1.0
    mirror = angles.new_tensor([side, 1.0, 1.0])
    return side * angles[:, joint, 0], side * angles[:, joint, 1], mirror


def _spine_displacement(rest: RestPose, angles: Tensor) -> dict[int, Tensor]:
    lengths = spine_lengths(rest)
    return {j: lengths[:, i, None] * spine_arc(angles[:, j, 0], angles[:, j, 1]) for i, j in enumerate(SPINE)}


def _scapula_displacement(rest: RestPose, angles: Tensor) -> dict[int, Tensor]:
    extent_w, extent_h = scapula_extent(rest)
    found: dict[int, Tensor] = {}
    for joint in (SCAPULA_R, SCAPULA_L):
        a, e, mirror = _scapula_angles(angles, joint)
        width, height = scapula_arc(a, e)
        found[joint] = (extent_w[:, None] * width + extent_h[:, None] * height) * mirror
    return found


def _translation_derivatives(rest: RestPose, angles: Tensor) -> Tensor:
    """d(t_j)/dq (B, 24, 3, 3 slots): only spine bending and extension, scapula abduction and elevation translate."""
    out = torch.zeros(*angles.shape[:2], 3, 3, dtype=angles.dtype, device=angles.device)
    zero = torch.zeros_like(angles[:, 0, 0])
    lengths = spine_lengths(rest)
    for i, j in enumerate(SPINE):
        b, x, length = angles[:, j, 0], angles[:, j, 1], lengths[:, i, None]
        out[:, j, :, 0] = length * torch.stack([-cosc_derivative(b), sinc_derivative(b), zero], -1)
        out[:, j, :, 1] = length * torch.stack([zero, sinc_derivative(x), -cosc_derivative(x)], -1)
    extent_w, extent_h = (extent[:, None] for extent in scapula_extent(rest))
    for joint in (SCAPULA_R, SCAPULA_L):
        a, e, mirror = _scapula_angles(angles, joint)
        shifted, side = e - pi / 4, mirror[0]
        by_a = extent_w / 4 * torch.stack([torch.cos(shifted) * torch.sin(a), zero, torch.cos(a)], -1)
        by_e = extent_w / 4 * torch.stack([torch.sin(shifted) * torch.cos(a), zero, zero], -1)
        by_e = by_e - extent_h / 2 * torch.stack([zero, torch.cos(shifted), zero], -1)
        out[:, joint, :, 0], out[:, joint, :, 1] = side * mirror * by_a, side * mirror * by_e
    return out


def translation_shape_derivatives(
    rest: RestPose, spin: RestSpin, q: Float[Tensor, "B 46"]
) -> Float[Tensor, "B 24 3 10"]:
    """d(t_j)/d(betas) (B, 24, 3, 10): offsets plus what l, W and H of the spine and scapulae change."""
    angles, out = pad_q(q), spin.rel.clone()
    sign = torch.sign(rest.rel[:, list(SPINE), 1])
    for i, j in enumerate(SPINE):
        d_length = sign[:, i, None] * spin.rel[:, j, 1]
        out[:, j] += spine_arc(angles[:, j, 0], angles[:, j, 1])[..., None] * d_length[:, None]
    d_w, d_h = (_norm_derivative(rest, spin, *pair)[:, None] for pair in ((19, 14), (12, 11)))
    for joint in (SCAPULA_R, SCAPULA_L):
        a, e, mirror = _scapula_angles(angles, joint)
        width, height = scapula_arc(a, e)
        out[:, joint] += (width * mirror)[..., None] * d_w + (height * mirror)[..., None] * d_h
    return out


def _norm_derivative(rest: RestPose, spin: RestSpin, i: int, k: int) -> Tensor:
    difference = rest.joints[:, i] - rest.joints[:, k]
    unit = difference / difference.norm(dim=-1, keepdim=True)
    return (unit[..., None] * (spin.joints[:, i] - spin.joints[:, k])).sum(1)


@dataclass(frozen=True)
class BoneTransforms:
    """World transforms: rotations rot(G_j) (B, 24, 3, 3), translations = joint positions without trans (B, 24, 3) m."""

    rotations: Float[Tensor, "B 24 3 3"]
    translations: Float[Tensor, "B 24 3"]


def forward_kinematics(motion: LocalMotion) -> BoneTransforms:
    """G_0 = [R_0 | t_0], G_j = G_parent [R_j | t_j], one batched product per level of the tree."""
    rotations: list[Tensor] = [motion.rotations[:, 0]] * N_JOINTS
    translations: list[Tensor] = [motion.translations[:, 0]] * N_JOINTS
    for level in LEVELS[1:]:
        ids, parents = list(level), [PARENTS[j] for j in level]
        parent_rotation = torch.stack([rotations[p] for p in parents], 1)
        parent_translation = torch.stack([translations[p] for p in parents], 1)
        turned = parent_rotation @ motion.rotations[:, ids]
        moved = (parent_rotation @ motion.translations[:, ids, :, None]).squeeze(-1) + parent_translation
        for slot, j in enumerate(ids):
            rotations[j], translations[j] = turned[:, slot], moved[:, slot]
    return BoneTransforms(torch.stack(rotations, 1), torch.stack(translations, 1))


def parent_rotations(world: BoneTransforms) -> Float[Tensor, "B 24 3 3"]:
    """rot(G_parent(j)) (B, 24, 3, 3), identity for the root."""
    eye = torch.eye(3, dtype=world.rotations.dtype, device=world.rotations.device)
    rest = world.rotations[:, _PARENT_OR_ROOT[1:]]
    return torch.cat([eye.expand(rest.shape[0], 1, 3, 3), rest], 1)


def of_dofs(by_slot: Float[Tensor, "B 24 *D 3"]) -> Float[Tensor, "B 46 *D"]:
    """Pick the 46 dofs from a (B, 24, ..., 3 slots) layout: (B, 46, ...)."""
    flat = by_slot.movedim(-1, 2).flatten(1, 2)
    return flat[:, padded_slots()]


JOINT_OF_DOF: tuple[int, ...] = tuple(joint for joint, ids in enumerate(Q_OF_JOINT) for _ in ids)
