"""What the compiled keypoint loop reads and writes: the body's constants and one person's scratch, by name.

NamedTuples, since numba compiles them to plain registers. Kept apart from the loop so that whoever calls it from a loop
of their own (`pipeline.fit.solver`) allocates the scratch once for many people.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_BETAS, N_JOINTS

Array = NDArray[np.floating]
Index = NDArray[np.int64]


class KeypointTables(NamedTuple):
    """Constants of a body. rig: joints, L, A, axes, sources; pairs sorted by keypoint; blocks: the (pair, corrective
    joint) couples whose 3x9 coefficients are not all zero; sums: their (keypoint, joint) targets.
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


class Work(NamedTuple):
    """Intermediate results of one joint (3, 3), (3,), and their slopes by betas (3, 10), (10,)."""

    arc: Array
    turned_bone: Array
    before: Array  # rotation of the joint's dofs so far
    turn: Array  # of one dof
    product: Array
    axis: Array
    target: Array  # where the bone points in the rest pose
    d_target: Array
    d_length: Array
    d_width: Array
    d_height: Array


class Scratch(NamedTuple):
    """One person's numbers between the steps of the loop. J = 24 joints; d_ and _beta: by betas, _dof: by the joint's
    own dofs. In m, in the parent's frame unless it says world.
    """

    joints: Array  # (J, 3) rest pose
    rel: Array  # (J, 3) from the parent
    d_rel: Array  # (J, 3, 10)
    frames: Array  # (J, 3, 3) M of the joint: R = M Rp M^T
    spin: Array  # (J, 3, 10) of M by betas; once the joint moved, spin - R spin
    rotations: Array  # (J, 3, 3) R
    axes_local: Array  # (J, 3, 3) columns: spin axes of the dofs
    trans: Array  # (J, 3)
    trans_dof: Array  # (J, 3, 3)
    trans_beta: Array  # (J, 3, 10)
    world: Array  # (J, 3, 3) rotations
    position: Array  # (J, 3) world
    axes: Array  # (J, 3, 3) rows: world spin axes of the dofs
    shifts: Array  # (J, 3, 3) rows: world displacements by the dofs
    spin_world: Array  # (J, 3, 10)
    shift_beta: Array  # (J, 3, 10) world
    pairs: Array  # (pairs, 3) what a (keypoint, bone) pair adds, in the bone's frame
    moments: Array  # (moments, 3) what of a keypoint moves with a joint
    sums: Array  # (sums, 3, 9) slope of a keypoint by a corrective joint's R
    turn_dof: Array  # (J, 3, 9) slope of R by the dofs
    turn_beta: Array  # (J, 10, 9)
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
