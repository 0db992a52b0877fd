"""Joint and keypoint regressors: non-negative rows over the skin around a joint that sum to 1.

A row is fitted to the joint's place in the template, over the shape space and in random poses, with a ridge that
spreads it over near vertices.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from pipeline.body.arrays import SMPL_PARENTS
from tools.open_body.anatomy import J19_FROM_SMPL, SMPL_NAMES, reach_of

TEMPLATE_WEIGHT, SHAPE_WEIGHT, POSE_WEIGHT, SUM_WEIGHT = 5.0, 1.5, 0.4, 10.0
SPREAD, NEAR = 3e-3, 0.06  # m; ridge, growing with the distance over NEAR
LEAST_WEIGHT = 1e-3
POSES, POSE_STD, SEED = 24, 0.45, 11


@dataclass(frozen=True)
class Observations:
    """What a row must reproduce: vertices and joint centres in template, shape directions and poses, weighted."""

    vertices: np.ndarray  # (6890, F)
    centres: np.ndarray  # (J, F)


@dataclass(frozen=True)
class SmplSkin:
    """A posable SMPL body without regressors: template (6890, 3) m, joints (24, 3) m, weights, posedirs."""

    template: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    posedirs: np.ndarray

    def pose(self, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World rotations (24, 3, 3) and translations (24, 3) of the bones for local rotations (24, 3, 3)."""
        world, origin = [rotations[0]], [self.joints[0]]
        for joint, parent in list(enumerate(SMPL_PARENTS))[1:]:
            origin.append(origin[parent] + world[parent] @ (self.joints[joint] - self.joints[parent]))
            world.append(world[parent] @ rotations[joint])
        turned = np.stack(world)
        return turned, np.stack(origin) - np.einsum("jab,jb->ja", turned, self.joints)

    def skin(self, rotations: np.ndarray) -> np.ndarray:
        """Posed vertices (6890, 3) m."""
        world, shift = self.pose(rotations)
        points = self.template + self.posedirs @ (rotations[1:] - np.eye(3)).ravel()
        return np.einsum("vj,jab,vb->va", self.weights, world, points, optimize=True) + self.weights @ shift


def posed_observations(body: SmplSkin, centres: np.ndarray, carriers: np.ndarray) -> Observations:
    """Skin and joint centres (J, 3) in random poses; `carriers` (J,) is the SMPL joint that moves each centre."""
    rotvecs = np.random.default_rng(SEED).standard_normal((POSES, 24, 3)) * POSE_STD
    rotvecs[:, 0] = 0
    vertices, moved = [], []
    for pose in rotvecs:
        rotations = Rotation.from_rotvec(pose).as_matrix()
        world, shift = body.pose(rotations)
        vertices.append(body.skin(rotations))
        moved.append(np.einsum("jab,jb->ja", world[carriers], centres) + shift[carriers])
    return Observations(POSE_WEIGHT * np.concatenate(vertices, 1), POSE_WEIGHT * np.concatenate(moved, 1))


def rest_observations(
    template: np.ndarray, directions: np.ndarray, centres: np.ndarray, moves: np.ndarray
) -> Observations:
    """Template (V, 3) and shape directions (V, 3, 10) against centres (J, 3) and theirs (J, 3, 10), m."""
    return Observations(
        np.concatenate([TEMPLATE_WEIGHT * template, SHAPE_WEIGHT * directions.reshape(len(template), -1)], 1),
        np.concatenate([TEMPLATE_WEIGHT * centres, SHAPE_WEIGHT * moves.reshape(len(centres), -1)], 1),
    )


class RegressorFitter:
    """Fits rows for the left half and the midline; right rows are their mirror images."""

    def __init__(self, template: np.ndarray, mirror: np.ndarray, rest: Observations, posed: Observations) -> None:
        """`template` (6890, 3) m, `mirror` (6890,) vertex map."""
        self.template, self.mirror = template, mirror
        self.vertices = np.concatenate([rest.vertices, posed.vertices], axis=1)
        self.centres = np.concatenate([rest.centres, posed.centres], axis=1)

    def rows(self, names: tuple[str, ...], first: int, joint_mirror: tuple[int, ...]) -> np.ndarray:
        """Rows (len(names), 6890) of the centres first, first + 1, ...; joint_mirror gives each one's mirror image."""
        rows = np.zeros((len(names), len(self.mirror)), np.float32)
        for k, (name, twin) in enumerate(zip(names, joint_mirror, strict=True)):
            centre = self.centres[first + k]
            if twin == k or centre[0] > 0:
                rows[k] = self._row(centre, reach_of(name), symmetric=twin == k)
                rows[twin] = rows[k][self.mirror]
        return rows

    def _row(self, centre: np.ndarray, reach: float, *, symmetric: bool) -> np.ndarray:
        distance = np.linalg.norm(self.template - centre[:3] / TEMPLATE_WEIGHT, axis=1)
        near = distance < reach
        ids = np.flatnonzero(near | near[self.mirror] if symmetric else near)
        seen = self.vertices[ids]
        if symmetric:
            seen = 0.5 * (seen + self.vertices[self.mirror[ids]])
        ridge = np.diag(SPREAD * (1 + (distance[ids] / NEAR) ** 2))
        system = np.concatenate([seen.T, np.full((1, len(ids)), SUM_WEIGHT), ridge])
        solution = nnls(system, np.concatenate([centre, [SUM_WEIGHT], np.zeros(len(ids))]), maxiter=30000)[0]
        row = np.zeros(len(self.mirror))
        row[ids] = solution
        return _normalised(0.5 * (row + row[self.mirror]) if symmetric else row)


def _normalised(row: np.ndarray) -> np.ndarray:
    row = np.where(row < LEAST_WEIGHT * row.max(), 0, row)
    return (row / row.sum()).astype(np.float32)


def keypoint_rows(smpl_rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """SMPL_to_J19 (19, 6890): limbs are SMPL joints, the last seven have rows of their own."""
    return np.concatenate([smpl_rows[list(J19_FROM_SMPL)], own])


def carriers_of(names: tuple[str, ...]) -> np.ndarray:
    """SMPL joint that moves each named centre (SMPL, SKEL or extra keypoint)."""
    carried_by = {
        "femur": "hip", "tibia": "knee", "talus": "ankle", "calcn": "ankle", "toes": "foot", "humerus": "shoulder",
        "scapula": "collar", "ulna": "elbow", "radius": "elbow", "lumbar_body": "spine2", "thorax": "spine3",
        "lsp_neck": "neck", "crown": "head", "mpii_pelvis": "pelvis", "mpii_thorax": "spine3", "h36m_spine": "spine1",
        "jaw": "head", "h36m_head": "head",
    }  # fmt: skip
    return np.array([SMPL_NAMES.index(_smpl_name(name, carried_by)) for name in names])


def _smpl_name(name: str, carried_by: dict[str, str]) -> str:
    if name in SMPL_NAMES:
        return name
    side = {"_l": "left_", "_r": "right_"}.get(name[-2:], "")
    part = name[:-2] if side else name
    return side + {"hand": "wrist"}.get(part, carried_by.get(part, part))
