"""Pose correctives: what linear blend skinning loses at a bent joint, linear in the rotation matrix of that joint.

With a vertex at r from the joint, weight w beyond it and rotation R by theta, blending gives M r, M = (1 - w) I + w R,
which shrinks; dual quaternions (Kavan et al. 2007) give a rotation by phi(w, theta) about the same axis. The wanted
rest-pose offset is MIX (M^-1 R_phi - I) r. Its least-squares fit over sampled rotations, linear in R - I, depends on
the vertex only through w and r, so it is solved on a grid of weights and interpolated.

SKEL has no counterpart of SMPL's elbow, wrist and knee twist: those joints use only features that a twist leaves at 0.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.body.arrays import SMPL_PARENTS
from tools.open_body.anatomy import SMPL_MIRROR, SMPL_NAMES
from tools.open_body.tpose import MIRROR

MIX = 0.7  # full dual quaternions bulge at the outside of elbows and knees
SAMPLES, SEED = 600, 7
WEIGHT_GRID = np.linspace(0, 1, 41)
RIDGE = 1e-2
GRID = 2.0**-17  # m; rounding makes the file small
LEAST = 1.5e-4  # m; smaller coefficients are dropped
ALL = tuple(range(9))


@dataclass(frozen=True)
class BendRange:
    """Sampled rotation vectors of a left joint (rad, S-axes) and the entries of R - I (row-major) that may respond."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    features: tuple[int, ...] = ALL


LEFT_JOINTS = {
    "left_hip": BendRange((-2.2, -0.6, -0.4), (0.6, 0.6, 0.9)),
    "left_knee": BendRange((0.0, -0.05, -0.05), (2.3, 0.05, 0.05), features=(4, 5, 7)),
    "left_shoulder": BendRange((-0.9, -1.9, -1.6), (0.9, 0.8, 1.7)),
    "left_elbow": BendRange((-0.05, -2.3, -0.2), (0.05, 0.0, 0.2), features=(0, 1, 2, 3, 6)),
    "left_wrist": BendRange((-0.1, -0.8, -1.4), (0.1, 0.8, 1.4), features=(0, 1, 2, 3, 6)),
}


def fit_posedirs(template: np.ndarray, joints: np.ndarray, weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """posedirs (6890, 3, 207) m for SMPL joints (24, 3) m and SMPL weights (6890, 24); left-right symmetric."""
    posedirs = np.zeros((len(template), 3, 23, 9))
    flip = np.multiply.outer(MIRROR, np.multiply.outer(MIRROR, MIRROR).ravel())
    for name, bend in LEFT_JOINTS.items():
        joint = SMPL_NAMES.index(name)
        beyond = weights[:, _subtree(joint)].sum(1)
        fitted = _vertex_coefficients(bend, beyond, template - joints[joint])
        posedirs[:, :, joint - 1] += fitted
        posedirs[:, :, SMPL_MIRROR[joint] - 1] += fitted[mirror] * flip
    posedirs[np.abs(posedirs) < LEAST] = 0
    return (np.round(posedirs.reshape(len(template), 3, 207) / GRID) * GRID + 0.0).astype(np.float32)


def _subtree(joint: int) -> list[int]:
    inside = [joint]
    for child, parent in enumerate(SMPL_PARENTS):
        if parent in inside:
            inside.append(child)
    return inside


def _vertex_coefficients(bend: BendRange, beyond: np.ndarray, arms: np.ndarray) -> np.ndarray:
    """(V, 3, 9) coefficients for vertices at `arms` (V, 3) m from the joint with weight `beyond` (V,) past it."""
    table = _coefficient_table(bend)
    place = np.clip(beyond, 0, 1) * (len(WEIGHT_GRID) - 1)
    low = np.minimum(place.astype(int), len(WEIGHT_GRID) - 2)
    share = (place - low)[:, None, None, None]
    coefficients = (1 - share) * table[low] + share * table[low + 1]
    return np.einsum("vcdf,vd->vcf", coefficients, arms)


def _coefficient_table(bend: BendRange) -> np.ndarray:
    """(weights, 3, 3, 9): offset_c = sum_d,f table[w, c, d, f] r_d (R - I)_f."""
    rotvecs = np.random.default_rng(SEED).uniform(bend.low, bend.high, (SAMPLES, 3))
    rotations = Rotation.from_rotvec(rotvecs).as_matrix()
    features = (rotations - np.eye(3)).reshape(SAMPLES, 9)[:, list(bend.features)]
    normal = features.T @ features + RIDGE * np.eye(features.shape[1])
    table = np.zeros((len(WEIGHT_GRID), 3, 3, 9))
    for k, weight in enumerate(WEIGHT_GRID):
        wanted = _offset_operators(rotvecs, rotations, weight).reshape(SAMPLES, 9)
        solution = np.linalg.solve(normal, features.T @ wanted)
        table[k][..., list(bend.features)] = solution.T.reshape(3, 3, -1)
    return table


def _offset_operators(rotvecs: np.ndarray, rotations: np.ndarray, weight: float) -> np.ndarray:
    """MIX (M^-1 R_phi - I), (N, 3, 3), for one weight."""
    angle = np.linalg.norm(rotvecs, axis=1)
    phi = 2 * np.arctan2(weight * np.sin(angle / 2), 1 - weight + weight * np.cos(angle / 2))
    turned = Rotation.from_rotvec(rotvecs * (phi / np.maximum(angle, 1e-12))[:, None]).as_matrix()
    blended = (1 - weight) * np.eye(3) + weight * rotations
    return MIX * (np.linalg.solve(blended, turned) - np.eye(3))
