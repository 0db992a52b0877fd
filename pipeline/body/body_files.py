"""Where bodies come from: the open body shipped with the package, or a folder of the licensed official files.

A folder holds skel_male.pkl, skel_female.pkl, SMPL_NEUTRAL.pkl, SMPL_to_J19.pkl and J_regressor_SKEL_mix_MALE.pkl, each
directly in it or in its skel/ or smpl/ subfolder. J_regressor_SMPL_MALE.pkl may lie there too: MOYO is evaluated by it;
and, for recorded motions of men and women, SMPL_MALE.pkl and SMPL_FEMALE.pkl.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from pipeline.body.arrays import (
    N_VERTICES,
    Array,
    SkelArrays,
    SkeletonMesh,
    SmplArrays,
    keypoint_regressor,
)
from pipeline.safe_pickle import load_body_pickle
from schemas.gender import GENDERS
from schemas.skel import N_BETAS, N_JOINTS, PARENTS

OPEN_BODY = Path(__file__).parent / "open_body" / "open_body.npz"
SMPL_GENDERS = ("neutral", *GENDERS)
_SUBFOLDERS = ("", "skel", "smpl")


class BodyFileError(ValueError):
    """A body file is missing, malformed or of the wrong shape; the message names the file and the fix."""


def read_skel(source: str | Path, gender: str) -> SkelArrays:
    """SKEL arrays of the open body (`source="open"`, one body for both genders) or of a folder of official files.

    Raises BodyFileError when a file is missing or malformed, ValueError for an unknown gender.
    """
    if gender not in GENDERS:
        raise ValueError(f"body.gender={gender!r} is not one of {', '.join(GENDERS)}")
    if str(source) == "open":
        return _open_skel()
    folder = _folder(source)
    smpl_like = _dense(
        _load(folder, "J_regressor_SKEL_mix_MALE.pkl"), (N_JOINTS, N_VERTICES), "J_regressor_SKEL_mix_MALE"
    )
    j19 = _dense(_load(folder, "SMPL_to_J19.pkl"), (19, N_VERTICES), "SMPL_to_J19")
    return _official_skel(_load(folder, f"skel_{gender}.pkl"), keypoint_regressor(smpl_like, j19), f"skel_{gender}.pkl")


def read_smpl(source: str | Path, gender: str = "neutral") -> SmplArrays:
    """SMPL arrays of the open body, one for all genders, or of SMPL_NEUTRAL.pkl, SMPL_MALE.pkl or SMPL_FEMALE.pkl in a
    folder of official files. Raises as `read_skel`.
    """
    if gender not in SMPL_GENDERS:
        raise ValueError(f"SMPL gender {gender!r} is not one of {', '.join(SMPL_GENDERS)}")
    if str(source) == "open":
        return _open_smpl()
    folder, name = _folder(source), f"SMPL_{gender.upper()}.pkl"
    raw = _load(folder, name)
    j19 = _dense(_load(folder, "SMPL_to_J19.pkl"), (19, N_VERTICES), "SMPL_to_J19")
    return SmplArrays(
        template=_array(raw, "v_template", (N_VERTICES, 3), name),
        faces=_faces(raw, "f", name, N_VERTICES),
        shapedirs=_array(raw, "shapedirs", (N_VERTICES, 3, None), name)[..., :N_BETAS],
        posedirs=_array(raw, "posedirs", (N_VERTICES, 3, 207), name),
        joint_regressor=_array(raw, "J_regressor", (N_JOINTS, N_VERTICES), name),
        skin_weights=_array(raw, "weights", (N_VERTICES, N_JOINTS), name),
        j19_regressor=j19,
    )


def read_smpl_joint_regressor(source: str | Path) -> Float64[np.ndarray, "24 6890"]:
    """SMPL's 24 joints from posed skin vertices: J_regressor_SMPL_MALE.pkl of a folder of official files; for the open
    body, whose SKEL and SMPL have one skin, the regressor of its SMPL.

    Raises BodyFileError when the file is missing or malformed.
    """
    if str(source) == "open":
        return _coo(read_open_archive(), "J_regressor")
    name = "J_regressor_SMPL_MALE.pkl"
    return _dense(_load(_folder(source), name), (N_JOINTS, N_VERTICES), name)


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise BodyFileError(
            f"body.source={str(source)!r} is not a folder. Give the folder of the licensed SKEL and SMPL files "
            "(skel.is.tue.mpg.de, smpl.is.tue.mpg.de), or keep the open body with body.source=open."
        )
    return folder


def _load(folder: Path, name: str) -> Any:
    for sub in _SUBFOLDERS:
        path = folder / sub / name
        if path.is_file():
            return load_body_pickle(path)
    places = ", ".join(str(folder / sub) for sub in _SUBFOLDERS)
    raise BodyFileError(f"{name} is in none of {places}. Put it there, or use the open body with body.source=open.")


def _field(raw: Any, key: str, name: str) -> Any:
    if not isinstance(raw, dict) or key not in raw:
        raise BodyFileError(
            f"{name} has no entry {key!r}: not an official file of the expected version; download it again"
        )
    return raw[key]


def _array(raw: Any, key: str, shape: tuple[int | None, ...], name: str) -> Array:
    return _dense(_field(raw, key, name), shape, f"{key} of {name}")


def _dense(value: Any, shape: tuple[int | None, ...], what: str) -> Array:
    """Checked before it is copied: a sparse matrix of a few bytes may declare any shape."""
    numbers = isinstance(value, np.ndarray) or sparse.issparse(value)
    if not numbers or value.dtype.kind not in "biuf":
        raise BodyFileError(f"{what} is a {type(value).__name__} and no array of numbers: not an official body file")
    if len(value.shape) != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, value.shape, strict=True)
    ):
        raise BodyFileError(f"{what} has shape {value.shape}, expected {shape}: not an official body file")
    array = np.asarray(value if isinstance(value, np.ndarray) else value.toarray(), dtype=np.float64)
    if not np.isfinite(array).all():
        raise BodyFileError(f"{what} holds NaN or infinite numbers: the file is damaged; download it again")
    return array


def _faces(raw: Any, key: str, name: str, n_vertices: int) -> np.ndarray:
    """Triangles (F, 3) of vertex numbers."""
    faces = _array(raw, key, (None, 3), name)
    if faces.size and not (faces.min() >= 0 and faces.max() < n_vertices and (faces == np.rint(faces)).all()):
        raise BodyFileError(f"{key} of {name} names vertices outside 0..{n_vertices - 1}: the file is damaged")
    return faces.astype(np.int64)


def _official_skel(raw: Any, keypoints: Array, name: str) -> SkelArrays:
    tree = _array(raw, "osim_kintree_table", (2, N_JOINTS), name)[0, 1:]
    if tuple(tree) != PARENTS[1:]:
        raise BodyFileError(f"osim_kintree_table of {name} is not SKEL's tree: {tree.tolist()}")
    apose = _array(raw, "apose_rel_transfo", (N_JOINTS, 4, 4), name)
    return SkelArrays(
        template=_array(raw, "skin_template_v", (N_VERTICES, 3), name),
        faces=_faces(raw, "skin_template_f", name, N_VERTICES),
        shapedirs=_array(raw, "shapedirs", (N_VERTICES, 3, None), name)[..., :N_BETAS],
        posedirs=_array(raw, "posedirs", (N_VERTICES, 3, 207), name),
        joint_regressor=_array(raw, "J_regressor_osim", (N_JOINTS, N_VERTICES), name),
        bone_rotations=_array(raw, "per_joint_rot", (N_JOINTS, 3, 3), name),
        apose_rotations=apose[:, :3, :3].copy(),
        apose_offsets=apose[:, :3, 3].copy(),
        skin_weights=_array(raw, "skin_weights", (N_VERTICES, N_JOINTS), name),
        keypoint_regressor=keypoints,
        skeleton=_skeleton(raw, name),
    )


def _skeleton(raw: Any, name: str) -> SkeletonMesh:
    vertices = _array(raw, "skel_template_v", (None, 3), name)
    return SkeletonMesh(
        vertices=vertices,
        faces=_faces(raw, "skel_template_f", name, len(vertices)),
        weights=_array(raw, "skel_weights", (None, N_JOINTS), name),
        weights_rigid=_array(raw, "skel_weights_rigid", (None, N_JOINTS), name),
    )


def read_open_archive() -> dict[str, Any]:
    """The arrays of the open body as they are stored (float32). Raises BodyFileError when the file is missing."""
    if not OPEN_BODY.is_file():
        raise BodyFileError(
            f"{OPEN_BODY} is missing from the installation; reinstall, or build it: see docs/open_body.md"
        )
    with np.load(OPEN_BODY, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def stored_matrix(archive: dict[str, Any], key: str) -> sparse.coo_matrix:
    """The sparse matrix `key` of the open body's archive, float64."""
    entries = (archive[f"{key}_data"].astype(np.float64), (archive[f"{key}_row"], archive[f"{key}_col"]))
    return sparse.coo_matrix(entries, shape=tuple(archive[f"{key}_shape"]))


def _coo(archive: dict[str, Any], key: str) -> Array:
    return stored_matrix(archive, key).toarray()


def _posedirs(archive: dict[str, Any]) -> Array:
    return np.asarray(archive["posedirs"], dtype=np.float64)


def _open_skel() -> SkelArrays:
    raw = read_open_archive()
    apose = raw["apose_rel_transfo"].astype(np.float64)
    return SkelArrays(
        template=raw["skin_template_v"].astype(np.float64),
        faces=raw["skin_template_f"].astype(np.int64),
        shapedirs=raw["shapedirs"].astype(np.float64),
        posedirs=_posedirs(raw),
        joint_regressor=_coo(raw, "J_regressor_osim"),
        bone_rotations=raw["per_joint_rot"].astype(np.float64),
        apose_rotations=apose[:, :3, :3].copy(),
        apose_offsets=apose[:, :3, 3].copy(),
        skin_weights=_coo(raw, "skin_weights"),
        keypoint_regressor=keypoint_regressor(_coo(raw, "J_regressor_SKEL_mix"), _coo(raw, "SMPL_to_J19")),
        skeleton=SkeletonMesh(
            vertices=raw["skel_template_v"].astype(np.float64),
            faces=raw["skel_template_f"].astype(np.int64),
            weights=_coo(raw, "skel_weights"),
            weights_rigid=_coo(raw, "skel_weights_rigid"),
        ),
    )


def _open_smpl() -> SmplArrays:
    raw = read_open_archive()
    return SmplArrays(
        template=raw["skin_template_v"].astype(np.float64),
        faces=raw["skin_template_f"].astype(np.int64),
        shapedirs=raw["shapedirs"].astype(np.float64),
        posedirs=_posedirs(raw),
        joint_regressor=_coo(raw, "J_regressor"),
        skin_weights=_coo(raw, "smpl_weights"),
        j19_regressor=_coo(raw, "SMPL_to_J19"),
    )
