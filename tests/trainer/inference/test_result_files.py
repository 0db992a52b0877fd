"""Names that cannot leave their folder, meshes that others read, the camera of the whole photo."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body import Skel
from pipeline.export.file_names import safe_name
from pipeline.export.mesh_files import BONE_COLOR, SKIN_COLOR, MeshFormat, MeshPart, mesh_file
from pipeline.export.photo_camera import into_photo_camera, photo_camera
from pipeline.export.upright_axes import to_upright
from pipeline.image.camera import FOCAL
from schemas.person import PersonId
from trainer.inference.result_files import person_file, photo_file, track_file


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), min_size=2, max_size=2, unique=True))
def test_names_stay_in_their_folder_and_differ(texts: list[str]) -> None:
    names = [safe_name(text) for text in texts]
    assert names[0] != names[1]
    for name in names:
        assert name.isascii()
        assert 0 < len(name) <= 200
        assert not set(name) & set('/\\:*?"<>|[]')
        assert not name.startswith(".")


@pytest.mark.parametrize("key", ["../../etc/passwd", "..", ".", "/root", "a/b", "x" * 1000, "é" * 1000, "*[a]?"])
def test_hostile_keys_make_plain_files(key: str, tmp_path: Path) -> None:
    id = PersonId("set", "000000", key, 3)
    for name in (
        photo_file("overlays", id, ".jpg"),
        person_file("mot", id, ".mot"),
        track_file("mot", id, key, ".mot"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        assert path.resolve().is_relative_to((tmp_path / name.split("/")[0] / "set" / "000000").resolve())


def test_a_readable_key_stays_readable() -> None:
    assert person_file("mot", PersonId("folder", "", "walk/01.jpg", 0), ".mot") == "mot/folder/walk%2F01.jpg.0.mot"


@pytest.mark.parametrize("format", ["glb", "obj"])
def test_meshes_read_back(format: MeshFormat, open_skel: Skel) -> None:
    """Every vertex in its order, closed, facing outwards, m, y up."""
    q = torch.zeros(1, 46, dtype=torch.float64)
    q[0, 0] = torch.pi  # upright in an image, as any start of a fit
    posed = open_skel(q, torch.zeros(1, 10, dtype=torch.float64), with_skeleton=True)
    assert posed.skeleton_vertices is not None
    skin, bones = posed.skin_vertices[0].numpy(), posed.skeleton_vertices[0].numpy()
    parts = [
        MeshPart("skin", to_upright(skin), open_skel.faces.numpy(), SKIN_COLOR),
        MeshPart("skeleton", to_upright(bones), open_skel.skeleton_faces.numpy(), BONE_COLOR),
    ]
    content = mesh_file(parts, format)
    loaded: Any = trimesh.load(io.BytesIO(content), file_type=format, process=False)
    if format == "obj":  # trimesh joins the objects of an OBJ file into one mesh
        assert [line for line in content.splitlines() if line.startswith(b"o ")] == [b"o skin", b"o skeleton"]
        found = trimesh.Trimesh(loaded.vertices[:6890], loaded.faces[: len(open_skel.faces)], process=False)
        bones_found = loaded.vertices[6890:]
    else:
        assert set(loaded.geometry) == {"skin", "skeleton"}
        found, bones_found = loaded.geometry["skin"], loaded.geometry["skeleton"].vertices
    np.testing.assert_allclose(found.vertices, to_upright(skin), atol=1e-6)
    np.testing.assert_array_equal(found.faces, open_skel.faces.numpy())
    np.testing.assert_allclose(bones_found, to_upright(bones), atol=1e-6)
    assert found.is_watertight
    assert 0.04 < found.volume < 0.12  # m^3; negative if the faces looked inwards
    height = np.ptp(found.vertices, axis=0)[1]
    head = found.vertices[332]  # the nose
    assert 1.4 < height < 2.1
    assert head[1] > found.vertices[:, 1].mean()


def test_the_pelvis_keeps_its_place_in_the_photo() -> None:
    rng = np.random.default_rng(0)
    cam_t = np.column_stack([rng.uniform(-0.5, 0.5, (20, 2)), rng.uniform(20, 60, 20)])
    pelvis, center = rng.normal(0, 0.3, (20, 3)), rng.uniform(0, 1000, (20, 2))
    side, size = rng.uniform(50, 900, 20), np.tile([1280, 720], (20, 1))
    moved = into_photo_camera(cam_t, pelvis, center, side, size)
    camera = photo_camera(1280, 720)
    crop, whole = cam_t + pelvis, moved + pelvis
    pixel = FOCAL * side[:, None] * crop[:, :2] / crop[:, 2:] + center
    found = camera.focal_px * whole[:, :2] / whole[:, 2:] + [camera.center_x, camera.center_y]
    np.testing.assert_allclose(found, pixel, atol=1e-9)
    np.testing.assert_allclose(camera.focal_px / whole[:, 2], FOCAL * side / crop[:, 2])  # px per m
    assert camera.focal_px == pytest.approx(5000 / 256 * 1280)
