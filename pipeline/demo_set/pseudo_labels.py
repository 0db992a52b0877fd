"""SMPL pseudo-labels of people whose SKEL truth is known, with the errors such labels have in public data sets.

A pseudo-label fits the picture better than the depth: turns about axes in the image plane are wrong by more than turns
about the viewing axis. Knees and elbows that are nearly straight come out bent backwards, some limbs point towards the
camera instead of away from it, the whole body leans, and the shape is nearer to the mean.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline.body.arrays import SMPL_PARENTS
from schemas.person import SmplLabel

Array = NDArray[np.float64]

_SKEL_BONE: Final = {0: 0, 1: 6, 2: 1, 3: 11, 4: 7, 5: 2, 6: 12, 7: 9, 8: 4, 9: 12, 10: 10, 11: 5, 15: 13,
                     16: 20, 17: 15, 18: 21, 19: 16, 20: 23, 21: 18, 22: 23, 23: 18}  # fmt: skip
"""SMPL joint -> SKEL bone that turns with it. The rest lie between two bones: neck, collars."""
_BETWEEN: Final = {12: (12, 13, 0.5), 13: (12, 19, 0.7), 14: (12, 14, 0.7)}

_NOISE_DEG: Final = np.array([0, 5, 5, 3, 5, 5, 3, 6, 6, 3, 5, 5, 5, 3, 3, 5, 6, 6, 7, 7, 8, 8, 0, 0], float)
"""Standard deviation by SMPL joint; the root has its own, below, and the hands do not turn."""
_LEAN_DEG: Final = ((2.5, 0.0, 0.0), (6.0, 5.0, 2.0))
"""Mean and standard deviation of the whole body's turn about camera x, y, z: labels lean along the line of sight."""
_IMAGE_PLANE_SHARE: Final = np.array([1.0, 1.0, 0.45])
"""Of an error's standard deviation about camera x, y (depth changes) and z (the picture changes)."""

_HINGES: Final = ((4, (1.0, 0, 0)), (5, (1.0, 0, 0)), (18, (0, -1.0, 0)), (19, (0, 1.0, 0)))
"""SMPL hinge joints and their flexion axis in the parent's rest frame (S-axes): knees, left elbow, right elbow."""
_LIMBS: Final = ((1, 4), (2, 5), (16, 18), (17, 19))
"""Upper and lower bone of a limb, for depth flips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """SMPL labels: pose (N, 24, 3) axis-angle rad, betas (N, 10), has_pose (N,)."""

    pose: Float[np.ndarray, "N 24 3"]
    betas: Float[np.ndarray, "N 10"]
    has_pose: Bool[np.ndarray, "N"]

    def of(self, person: int) -> SmplLabel | None:
        """One person's label, as a data set stores it."""
        if not self.has_pose[person]:
            return None
        return SmplLabel(pose=self.pose[person].astype(np.float32), betas=self.betas[person].astype(np.float32))


def make_pseudo_labels(
    rng: np.random.Generator, bone_rotations: Float[np.ndarray, "N 24 3 3"], betas: Float[np.ndarray, "N 10"]
) -> PseudoLabels:
    """Labels for people with world rotations of the SKEL bones from the T-pose (N, 24, 3, 3), camera axes."""
    count = len(betas)
    world = smpl_world_rotations(bone_rotations)
    world = _flip_depth(rng, world)
    world = _disturb(rng, world)
    pose = local_axis_angle(world)
    pose = _overextend(rng, pose)
    shrunk = np.clip(0.55 * betas + rng.normal(0.0, 0.35, betas.shape), -2.5, 2.5)
    has_pose = rng.random(count) >= 0.05
    return PseudoLabels(
        pose=np.where(has_pose[:, None, None], pose, 0.0),
        betas=np.where(has_pose[:, None], shrunk, 0.0),
        has_pose=has_pose,
    )


def smpl_world_rotations(bone_rotations: Float[np.ndarray, "N 24 3 3"]) -> Float[np.ndarray, "N 24 3 3"]:
    """World rotations of the 24 SMPL joints (N, 24, 3, 3) that turn with the SKEL bones (N, 24, 3, 3)."""
    world = np.empty_like(bone_rotations)
    for joint, bone in _SKEL_BONE.items():
        world[:, joint] = bone_rotations[:, bone]
    for joint, (first, second, share) in _BETWEEN.items():
        start = Rotation.from_matrix(bone_rotations[:, first])
        step = (start.inv() * Rotation.from_matrix(bone_rotations[:, second])).as_rotvec()
        world[:, joint] = (start * Rotation.from_rotvec(share * step)).as_matrix()
    return world


def local_axis_angle(world: Float[np.ndarray, "N 24 3 3"]) -> Float[np.ndarray, "N 24 3"]:
    """SMPL pose (N, 24, 3) axis-angle from world rotations (N, 24, 3, 3)."""
    parents = np.array(SMPL_PARENTS[1:])
    local = world.copy()
    local[:, 1:] = np.swapaxes(world[:, parents], -1, -2) @ world[:, 1:]
    return Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(len(world), 24, 3)


def _subtrees() -> NDArray[np.bool_]:
    moves = np.eye(24, dtype=bool)
    for joint in range(1, 24):
        moves[:, joint] |= moves[:, SMPL_PARENTS[joint]]
    return moves


def _disturb(rng: np.random.Generator, world: Array) -> Array:
    """Turn each joint, with all that hangs on it, by a random rotation in camera axes; the root leans mostly."""
    count = len(world)
    difficulty = np.exp(rng.normal(0.0, 0.3, (count, 1, 1)))
    errors = np.deg2rad(_NOISE_DEG)[:, None] * _IMAGE_PLANE_SHARE * difficulty * rng.normal(0.0, 1.0, (count, 24, 3))
    errors[:, 0] = rng.normal(np.deg2rad(_LEAN_DEG[0]), np.deg2rad(_LEAN_DEG[1]), (count, 3))
    turns = Rotation.from_rotvec(errors.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)
    total = turns.copy()
    for joint in range(1, 24):
        total[:, joint] = total[:, SMPL_PARENTS[joint]] @ turns[:, joint]
    return total @ world


def _flip_depth(rng: np.random.Generator, world: Array) -> Array:
    """For one limb in 40, both bones point as far towards the camera as they truly point away from it."""
    moves = _subtrees()
    for upper, lower in _LIMBS:
        rest = np.array([0.0, -1.0, 0.0]) if upper in (1, 2) else np.array([1.0 if upper == 16 else -1.0, 0.0, 0.0])
        flipped = rng.random(len(world)) < 0.025
        for joint in (upper, lower):
            direction = world[:, joint] @ rest
            turn = np.where(flipped[:, None, None], _shortest_turn(direction, direction * [1.0, 1.0, -1.0]), np.eye(3))
            world = np.where(moves[joint][None, :, None, None], turn[:, None] @ world, world)
    return world


def _shortest_turn(start: Array, end: Array) -> Array:
    """(N, 3, 3) rotations from unit vectors `start` to `end` about their common normal."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(sine, (start * end).sum(axis=1, keepdims=True))
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-9) * angle).as_matrix()


def _overextend(rng: np.random.Generator, pose: Array) -> Array:
    """Every second nearly straight knee (below 40 degrees) and every third elbow bends 8-20 degrees the wrong way."""
    pose = pose.copy()
    for joint, axis in _HINGES:
        flexion = pose[:, joint] @ np.array(axis)
        chosen = (flexion < np.deg2rad(40)) & (rng.random(len(pose)) < (0.5 if joint in (4, 5) else 0.33))
        backwards = -np.deg2rad(rng.uniform(8, 20, len(pose)))
        pose[chosen, joint] = (backwards[:, None] * np.array(axis))[chosen]
    return pose
