"""The numbers a body is made of, independent of the file they came from."""

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from schemas.skel import PARENTS

Array = NDArray[np.float64]
Index = NDArray[np.int64]

N_VERTICES = 6890

SMPL_PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)  # fmt: skip

_LANDMARKS = (
    332, 6260, 2800, 4071, 583, 3216, 3226, 3387, 6617, 6624, 6787,
    2746, 2319, 2445, 2556, 2673, 6191, 5782, 5905, 6016, 6133,
)  # fmt: skip
"""Vertices of slots 24..44: nose, eyes, ears, toes and heels, finger tips (docs/body_model.md)."""
BODY25_SLOTS = (24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, *range(25, 35))
"""Which of the 24 SMPL-like joints followed by the 21 landmark vertices make OpenPose's BODY_25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkeletonMesh:
    """Bone surface: vertices (S, 3) in bone space, faces (T, 3), posing and placing weights (S, 24)."""

    vertices: Float64[np.ndarray, "S 3"]
    faces: Int64[np.ndarray, "T 3"]
    weights: Float64[np.ndarray, "S 24"]
    weights_rigid: Float64[np.ndarray, "S 24"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkelArrays:
    """SKEL body (docs/body_model.md): template (6890, 3) m, shapedirs (6890, 3, 10), posedirs (6890, 3, 207),
    joint_regressor (24, 6890) of the SKEL joints, bone_rotations L (24, 3, 3), apose_rotations A (24, 3, 3),
    apose_offsets a (24, 3) m, skin_weights (6890, 24), keypoint_regressor (44, 6890) from posed skin vertices to the
    44 keypoints.
    """

    template: Float64[np.ndarray, "6890 3"]
    faces: Int64[np.ndarray, "T 3"]
    shapedirs: Float64[np.ndarray, "6890 3 10"]
    posedirs: Float64[np.ndarray, "6890 3 207"]
    joint_regressor: Float64[np.ndarray, "24 6890"]
    bone_rotations: Float64[np.ndarray, "24 3 3"]
    apose_rotations: Float64[np.ndarray, "24 3 3"]
    apose_offsets: Float64[np.ndarray, "24 3"]
    skin_weights: Float64[np.ndarray, "6890 24"]
    keypoint_regressor: Float64[np.ndarray, "44 6890"]
    skeleton: SkeletonMesh | None

    @property
    def parents(self) -> tuple[int, ...]:
        """Kinematic tree; fixed for every SKEL file."""
        return PARENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class SmplArrays:
    """SMPL body: template (6890, 3) m, shapedirs (6890, 3, 10), posedirs (6890, 3, 207), joint_regressor (24, 6890),
    skin_weights (6890, 24), j19_regressor (19, 6890) from posed vertices to the keypoints 25..43.
    """

    template: Float64[np.ndarray, "6890 3"]
    faces: Int64[np.ndarray, "T 3"]
    shapedirs: Float64[np.ndarray, "6890 3 10"]
    posedirs: Float64[np.ndarray, "6890 3 207"]
    joint_regressor: Float64[np.ndarray, "24 6890"]
    skin_weights: Float64[np.ndarray, "6890 24"]
    j19_regressor: Float64[np.ndarray, "19 6890"]


def keypoint_regressor(
    smpl_like: Float64[np.ndarray, "24 6890"], j19: Float64[np.ndarray, "19 6890"]
) -> Float64[np.ndarray, "44 6890"]:
    """The one (44, 6890) matrix that reproduces HSMR's keypoint selection from posed vertices (docs/body_model.md).

    smpl_like (24, 6890): J_regressor_SKEL_mix_MALE; j19 (19, 6890): SMPL_to_J19.
    """
    return np.concatenate([np.concatenate([smpl_like, landmark_rows()])[list(BODY25_SLOTS)], j19])


def landmark_rows() -> Float64[np.ndarray, "21 6890"]:
    """(21, 6890) rows that pick the landmark vertices."""
    rows = np.zeros((len(_LANDMARKS), N_VERTICES))
    rows[np.arange(len(_LANDMARKS)), _LANDMARKS] = 1
    return rows


def digest(arrays: SkelArrays | SmplArrays) -> str:
    """sha256 over names, shapes and values: identifies the body in lineage whatever file it came from."""
    sha = hashlib.sha256()
    for name, value in _named(arrays):
        sha.update(f"{name}{value.shape}{value.dtype}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()


def _named(record: Any) -> list[tuple[str, NDArray[Any]]]:
    found: list[tuple[str, NDArray[Any]]] = []
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            found.append((field.name, value))
        elif value is not None:
            found += [(f"{field.name}.{name}", inner) for name, inner in _named(value)]
    return found
