"""What the compiled keypoint loop reads and writes: the body's constants and one person's scratch, by name.

NamedTuples, since numba compiles them to plain registers. Kept apart from the loop so that whoever calls it from a loop
of their own (`pipeline.fit.solver`) allocates the scratch once for many people.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_BETAS, N_JOINTS


class KeypointTables(NamedTuple):
    """Constants of a body. rig: joints, L, A, axes, sources; pairs sorted by keypoint; blocks: the (pair, corrective
    joint) couples whose 3x9 coefficients are not all zero; sums: their (keypoint, joint) targets.
    """

    joint_template: Float[np.ndarray, "24 3"]
    joint_dirs: Float[np.ndarray, "24 3 10"]
    bone_rotations: Float[np.ndarray, "24 3 3"]
    apose_rotations: Float[np.ndarray, "24 3 3"]
    axes: Float[np.ndarray, "24 3 3"]
    sources: Float[np.ndarray, "24 3"]
    turned: Float[np.ndarray, "24"]
    pair_keypoint: Int64[np.ndarray, "P"]
    pair_bone: Int64[np.ndarray, "P"]
    pair_mass: Float[np.ndarray, "P"]
    pair_point: Float[np.ndarray, "P 3"]
    pair_shape: Float[np.ndarray, "P 3 10"]
    pair_moments: Int64[np.ndarray, "P most"]
    moment_keypoint: Int64[np.ndarray, "M"]
    moment_joint: Int64[np.ndarray, "M"]
    moment_mass: Float[np.ndarray, "M"]
    block_pair: Int64[np.ndarray, "blocks"]
    block_joint: Int64[np.ndarray, "blocks"]
    block_sum: Int64[np.ndarray, "blocks"]
    block_coefficients: Float[np.ndarray, "blocks 3 9"]
    sum_keypoint: Int64[np.ndarray, "sums"]
    sum_joint: Int64[np.ndarray, "sums"]


class Work(NamedTuple):
    """Intermediate results of one joint; d_: their slopes by betas."""

    arc: Float[np.ndarray, "3 3"]
    turned_bone: Float[np.ndarray, "3 3"]
    before: Float[np.ndarray, "3 3"]  # rotation of the joint's dofs so far
    turn: Float[np.ndarray, "3 3"]  # of one dof
    product: Float[np.ndarray, "3 3"]
    axis: Float[np.ndarray, "3"]
    target: Float[np.ndarray, "3"]  # where the bone points in the rest pose
    d_target: Float[np.ndarray, "3 10"]
    d_length: Float[np.ndarray, "10"]
    d_width: Float[np.ndarray, "10"]
    d_height: Float[np.ndarray, "10"]


class Scratch(NamedTuple):
    """One person's numbers between the steps of the loop; d_ and _beta: by betas, _dof: by the joint's own dofs. In m,
    in the parent's frame unless it says world.
    """

    joints: Float[np.ndarray, "24 3"]  # rest pose
    rel: Float[np.ndarray, "24 3"]  # from the parent
    d_rel: Float[np.ndarray, "24 3 10"]
    frames: Float[np.ndarray, "24 3 3"]  # M of the joint: R = M Rp M^T
    spin: Float[np.ndarray, "24 3 10"]  # of M by betas; once the joint moved, spin - R spin
    rotations: Float[np.ndarray, "24 3 3"]  # R
    axes_local: Float[np.ndarray, "24 3 3"]  # columns: spin axes of the dofs
    trans: Float[np.ndarray, "24 3"]
    trans_dof: Float[np.ndarray, "24 3 3"]
    trans_beta: Float[np.ndarray, "24 3 10"]
    world: Float[np.ndarray, "24 3 3"]  # rotations
    position: Float[np.ndarray, "24 3"]  # world
    axes: Float[np.ndarray, "24 3 3"]  # rows: world spin axes of the dofs
    shifts: Float[np.ndarray, "24 3 3"]  # rows: world displacements by the dofs
    spin_world: Float[np.ndarray, "24 3 10"]
    shift_beta: Float[np.ndarray, "24 3 10"]  # world
    pairs: Float[np.ndarray, "P 3"]  # what a (keypoint, bone) pair adds, in the bone's frame
    moments: Float[np.ndarray, "M 3"]  # what of a keypoint moves with a joint
    sums: Float[np.ndarray, "sums 3 9"]  # slope of a keypoint by a corrective joint's R
    turn_dof: Float[np.ndarray, "24 3 9"]  # slope of R by the dofs
    turn_beta: Float[np.ndarray, "24 10 9"]
    work: Work


@compiled()
def new_scratch(tables, z):
    """Scratch of dtype z for one person of a body."""
    j = N_JOINTS
    work = Work(
        arc=np.zeros((3, 3), z),
        turned_bone=np.zeros((3, 3), z),
        before=np.zeros((3, 3), z),
        turn=np.zeros((3, 3), z),
        product=np.zeros((3, 3), z),
        axis=np.zeros(3, z),
        target=np.zeros(3, z),
        d_target=np.zeros((3, N_BETAS), z),
        d_length=np.zeros(N_BETAS, z),
        d_width=np.zeros(N_BETAS, z),
        d_height=np.zeros(N_BETAS, z),
    )
    return Scratch(
        joints=np.zeros((j, 3), z),
        rel=np.zeros((j, 3), z),
        d_rel=np.zeros((j, 3, N_BETAS), z),
        frames=np.zeros((j, 3, 3), z),
        spin=np.zeros((j, 3, N_BETAS), z),
        rotations=np.zeros((j, 3, 3), z),
        axes_local=np.zeros((j, 3, 3), z),
        trans=np.zeros((j, 3), z),
        trans_dof=np.zeros((j, 3, 3), z),
        trans_beta=np.zeros((j, 3, N_BETAS), z),
        world=np.zeros((j, 3, 3), z),
        position=np.zeros((j, 3), z),
        axes=np.zeros((j, 3, 3), z),
        shifts=np.zeros((j, 3, 3), z),
        spin_world=np.zeros((j, 3, N_BETAS), z),
        shift_beta=np.zeros((j, 3, N_BETAS), z),
        pairs=np.zeros((len(tables.pair_bone), 3), z),
        moments=np.zeros((len(tables.moment_joint), 3), z),
        sums=np.zeros((len(tables.sum_keypoint), 3, 9), z),
        turn_dof=np.zeros((j, 3, 9), z),
        turn_beta=np.zeros((j, N_BETAS, 9), z),
        work=work,
    )
