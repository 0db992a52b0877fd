"""The open body written as the official SKEL and SMPL files, so that other tools (`smplx`, `body-models`) can load it.

`python -m pipeline.body.official_export FOLDER` writes skel_male.pkl, skel_female.pkl (format 1.1.1), SMPL_NEUTRAL.pkl,
SMPL_to_J19.pkl, J_regressor_SKEL_mix_MALE.pkl and J_regressor_SMPL_MALE.pkl. FOLDER then works as `body.source` and
gives the same body.
"""

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from pipeline.body.body_files import read_open_archive, stored_matrix
from schemas.gender import GENDERS
from schemas.skel import JOINT_NAMES, N_JOINTS, PARENTS, Q_NAMES

SKEL_VERSION = "1.1.1"
_PROTOCOL = 4
_ROOT_PARENT = 2**32 - 1  # what the official trees hold for "no parent"


def export_official(folder: str | Path) -> list[Path]:
    """Write the open body to `folder` (made if missing) in the official formats; returns the files written.

    The values are those of the open body's float32 archive as float64, so that a round trip is exact. Raises
    BodyFileError when the open body is missing from the installation, FileExistsError when a file is there already:
    licensed files of the same name are never overwritten.
    """
    folder, archive = Path(folder).expanduser(), read_open_archive()
    skel = skel_file(archive)
    files: dict[str, object] = {f"skel_{gender}.pkl": {**skel, "gender": gender} for gender in GENDERS}
    files["SMPL_NEUTRAL.pkl"] = smpl_file(archive)
    files["SMPL_to_J19.pkl"] = stored_matrix(archive, "SMPL_to_J19").toarray().astype(np.float32)
    files["J_regressor_SKEL_mix_MALE.pkl"] = sparse.csc_matrix(stored_matrix(archive, "J_regressor_SKEL_mix"))
    files["J_regressor_SMPL_MALE.pkl"] = sparse.csc_matrix(stored_matrix(archive, "J_regressor"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} exists and is not overwritten; export to an empty folder")
    for name, content in files.items():
        with (folder / name).open("xb") as out:
            pickle.dump(content, out, protocol=_PROTOCOL)
    return [folder / name for name in files]


def skel_file(archive: dict[str, Any]) -> dict[str, Any]:
    """Content of skel_{male,female}.pkl (docs/body_model.md, model files)."""
    apose = archive["apose_rel_transfo"].astype(np.float64)
    return {
        "version": SKEL_VERSION,
        "skin_template_v": archive["skin_template_v"].astype(np.float64),
        "skin_template_f": archive["skin_template_f"].astype(np.uint32),
        "shapedirs": archive["shapedirs"].astype(np.float64),
        "posedirs": archive["posedirs"].astype(np.float64),
        "J_regressor": stored_matrix(archive, "J_regressor"),
        "J_regressor_osim": stored_matrix(archive, "J_regressor_osim"),
        "skin_weights": stored_matrix(archive, "skin_weights"),
        "skel_weights": stored_matrix(archive, "skel_weights"),
        "skel_weights_rigid": stored_matrix(archive, "skel_weights_rigid"),
        "skel_template_v": archive["skel_template_v"].astype(np.float64),
        "skel_template_f": archive["skel_template_f"].astype(np.uint32),
        "per_joint_rot": archive["per_joint_rot"].astype(np.float64),
        "apose_rel_transfo": apose,
        "apose_transfo": world_transforms(apose),
        "tpose_transfo": _tpose(archive),
        "osim_kintree_table": np.array([(_ROOT_PARENT, *PARENTS[1:]), range(N_JOINTS)], dtype=np.int64),
        "bone_names": list(JOINT_NAMES),
        "joints_name": list(JOINT_NAMES),
        "pose_params_name": list(Q_NAMES),
        "parameter_mapping": np.arange(len(Q_NAMES)),
    }


def smpl_file(archive: dict[str, Any]) -> dict[str, Any]:
    """Content of SMPL_NEUTRAL.pkl."""
    parents = archive["smpl_parents"].astype(np.int64)
    joints = stored_matrix(archive, "J_regressor")
    template = archive["skin_template_v"].astype(np.float64)
    return {
        "v_template": template,
        "f": archive["skin_template_f"].astype(np.uint32),
        "shapedirs": archive["shapedirs"].astype(np.float64),
        "posedirs": archive["posedirs"].astype(np.float64),
        "J_regressor": sparse.csc_matrix(joints),
        "kintree_table": np.array([np.where(parents < 0, _ROOT_PARENT, parents), np.arange(N_JOINTS)], dtype=np.int64),
        "weights": stored_matrix(archive, "smpl_weights").toarray(),
        "J": joints @ template,
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }


def world_transforms(relative: Float64[np.ndarray, "24 4 4"]) -> Float64[np.ndarray, "24 4 4"]:
    """Chain (24, 4, 4) transforms relative to the parent along SKEL's tree."""
    world = np.array(relative)
    for joint in range(1, N_JOINTS):
        world[joint] = world[PARENTS[joint]] @ relative[joint]
    return world


def _tpose(archive: dict[str, Any]) -> np.ndarray:
    """(24, 4, 4) rest frames: bone orientation and T-pose joint. In official files; no forward pass reads them."""
    frames = np.tile(np.eye(4), (N_JOINTS, 1, 1))
    frames[:, :3, :3] = archive["per_joint_rot"]
    frames[:, :3, 3] = stored_matrix(archive, "J_regressor_osim") @ archive["skin_template_v"].astype(np.float64)
    return frames


def main() -> None:
    """Command line: export to one folder."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.body.official_export",
        description="Write the open body as the official SKEL and SMPL files.",
        epilog="example: python -m pipeline.body.official_export /tmp/open_as_official",
    )
    parser.add_argument("folder", type=Path, help="where the six .pkl files go; must not hold files of these names")
    try:
        written = export_official(parser.parse_args().folder)
    except FileExistsError as error:
        parser.error(str(error))
    for path in written:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
