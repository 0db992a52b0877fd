"""A closed-form start for conversion: one rotation per bone from surface points, then the joint angles."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body import kinematics
from pipeline.body.representation import rotations_to_q
from pipeline.body.skel import Skel
from schemas.skel import N_JOINTS, PARENTS

_WITH_PARENT = (kinematics.SCAPULA_R, kinematics.SCAPULA_L, 17, 22)
"""Scapulae and radii share their skin with the thorax and the ulnae, so the mesh does not tell their own rotation."""


def rigid_rotations(
    rest: Float[Tensor, "B P 3"], posed: Float[Tensor, "B P 3"], weights: Float[Tensor, "P 24"]
) -> Float[Tensor, "B 24 3 3"]:
    """Rotation that takes the rest points nearest to the posed ones, for each of 24 weightings (Kabsch 1976)."""
    weights = weights / weights.sum(0).clamp_min(1e-12)
    center_from, center_to = weights.mT @ rest, weights.mT @ posed
    outer = (posed[..., :, None] * rest[..., None, :]).flatten(-2)
    moment = (weights.mT @ outer).unflatten(-1, (3, 3)) - center_to[..., :, None] * center_from[..., None, :]
    u, _, vt = torch.linalg.svd(torch.nan_to_num(moment))
    sign = torch.ones_like(center_to)
    sign[..., 2] = torch.linalg.det(u @ vt)
    return (u * sign[..., None, :]) @ vt


def bone_rotations_to_q(
    skel: Skel, rotations: Float[Tensor, "B 24 3 3"], betas: Float[Tensor, "B 10"]
) -> Float[Tensor, "B 46"]:
    """q whose joints turn each bone relative to its parent as the given rotations do (as far as the dofs allow)."""
    world = list(rotations.unbind(1))
    for joint in _WITH_PARENT:
        world[joint] = world[PARENTS[joint]]
    local = [world[0], *(world[PARENTS[j]].mT @ world[j] for j in range(1, N_JOINTS))]
    frames = kinematics.rest_pose(skel.rig, betas).frames
    return rotations_to_q(frames.mT @ torch.stack(local, 1) @ frames)
