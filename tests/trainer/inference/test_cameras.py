"""People in cameras of their own: what a network is told, and the photo's true pinhole in all that is written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch
from PIL import Image
from PIL.ExifTags import IFD, Base
from scipy.spatial.transform import Rotation

from jobs.predict import main
from pipeline.body import Skel, load_skel
from pipeline.export.upright_axes import to_ground
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.image.camera import FOCAL
from pipeline.image.person_camera import PersonCamera, crop_to_photo
from pipeline.image.person_view import camera_of
from pipeline.lenses.known_lens import KnownLenses
from pipeline.shards import write_shard
from pipeline.storage.opening import open_storage
from schemas.camera import CameraSource, Lens
from schemas.gender import DEFAULT_GENDER
from schemas.person import PersonId, Photo
from tests.pipeline.rounds.made_shards import make_samples
from tests.trainer.networks import INFO, SMALL
from tests.unseen_person import unseen_person
from trainer.checkpoint import save_checkpoint
from trainer.inference.image_folder import ImageFolder
from trainer.inference.placed_bodies import place_bodies
from trainer.inference.predicted_people import PredictedPeople
from trainer.inference.predictor import NetworkPredictor
from trainer.inference.surfaces import pose_surfaces
from trainer.network.hsmr import Hsmr
from trainer.network.variants import NetworkCamera

WIDTH, HEIGHT = 96, 64
FOCAL_35MM = 28


def network(camera: NetworkCamera) -> Hsmr:
    """One that looks at what it is told."""
    torch.manual_seed(0)
    made = Hsmr(replace(SMALL, camera=camera)).eval()
    torch.nn.init.normal_(made.head.cam_decoder.weight, std=0.02)
    if made.head.camera_token is not None:
        torch.nn.init.normal_(made.head.camera_token.out.weight)
    return made


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two photos with the focal length of the lens in EXIF, the second on its side."""
    folder = tmp_path / "walk"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, orientation in (("0.jpg", 1), ("1.jpg", 6)):
        exif = Image.Exif()
        exif[Base.Orientation] = orientation
        exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = FOCAL_35MM
        size = (WIDTH, HEIGHT) if orientation == 1 else (HEIGHT, WIDTH)
        pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name, exif=exif)
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1\n0.jpg,5,5,30,60\n0.jpg,60,2,94,50\n1.jpg,5,5,40,60\n")
    return folder


def saved(folder: Path, camera: NetworkCamera) -> str:
    storage, info = open_storage(str(folder)), replace(INFO, body_digest=load_skel().digest)
    save_checkpoint(storage, f"{camera}.safetensors", network(camera), info)
    return storage.url(f"{camera}.safetensors")


def predicted(images: Path, camera: NetworkCamera, *options: str) -> tuple[Path, list[dict]]:
    output = images.parent / "out"
    inputs = [
        "--images",
        str(images),
        "--boxes",
        str(images / "boxes.csv"),
        "--checkpoint",
        saved(images.parent, camera),
    ]
    assert main([*inputs, "--output", str(output), *options]) == 0
    return output, pq.read_table(output / "predictions.parquet").to_pylist()


def test_a_network_is_told_each_person_s_camera(images: Path) -> None:
    (photo, _), _ = photos_of(images)
    with_lens = next(KnownLenses().of([photo]))
    lens = with_lens.people[0].lens
    assert lens is not None
    assert lens.source is CameraSource.EXIF
    told, crop = (NetworkPredictor(network(kind), "cpu") for kind in ("full", "crop"))
    known, unknown = told.predict([with_lens]), told.predict([photo])
    assert [g.focal for g in known] == pytest.approx([lens.focal_px / p.side for p in photo.people])
    assert [g.focal for g in unknown] == [FOCAL, FOCAL]
    assert np.abs(known[0].q - unknown[0].q).max() > 1e-4
    assert known[0].cam_t[2] < 0.5 * unknown[0].cam_t[2]
    for a, b in zip(crop.predict([with_lens]), crop.predict([photo]), strict=True):
        np.testing.assert_array_equal(a.q, b.q)
        assert a.focal == b.focal == FOCAL
    camera = camera_of(with_lens.people[1])
    posed = told.pose([with_lens])[1]
    assert (posed.focal, posed.source) == (camera.focal, CameraSource.EXIF)
    np.testing.assert_array_equal(posed.turn, camera.turn)
    assert crop.pose([with_lens])[1].source is CameraSource.HSMR


def photos_of(images: Path) -> tuple[list[Photo], Path]:
    from trainer.inference.boxes import read_boxes

    found = [item for item in ImageFolder(images, read_boxes(images / "boxes.csv")) if isinstance(item, Photo)]
    return found, images


def test_the_table_states_the_photo_s_true_pinhole(images: Path) -> None:
    """From EXIF, of the image that was turned too; and the network's body is drawn where the pinhole puts it."""
    output, rows = predicted(images, "full", "--overlays", "--hide-photos", "--meshes", "glb", "--mot")
    focal_px = FOCAL_35MM / np.hypot(36, 24) * np.hypot(WIDTH, HEIGHT)
    assert len(rows) == 3
    for row in rows:
        assert row["camera_source"] == "exif"
        assert row["photo_focal_px"] == pytest.approx(focal_px)
        assert row["focal"] == pytest.approx(focal_px / row["side"])
        np.testing.assert_allclose(row["photo_principal_point"], (WIDTH / 2, HEIGHT / 2), atol=1e-3)
        drawn = simplejpeg.decode_jpeg((output / "overlays/walk" / f"{row['key']}.jpg").read_bytes())
        place = np.add(row["photo_cam_t"], row["pelvis"])
        u, v = np.rint(row["photo_focal_px"] * place[:2] / place[2] + row["photo_principal_point"]).astype(int)
        assert np.abs(drawn[v, u].astype(int) - 200).max() > 10


def test_a_network_of_the_crop_stays_in_hsmr_s_camera(images: Path) -> None:
    _, rows = predicted(images, "crop")
    for row in rows:
        assert (row["focal"], row["camera_source"], row["camera_turn"]) == (FOCAL, "hsmr", [0, 0, 0])
        assert row["photo_focal_px"] == pytest.approx(FOCAL * WIDTH)
        assert row["photo_principal_point"] == [WIDTH / 2, HEIGHT / 2]


def test_cameras_can_be_left_out(images: Path) -> None:
    _, rows = predicted(images, "full", "camera=hsmr")
    assert {row["camera_source"] for row in rows} == {"hsmr"}


@pytest.fixture
def batch(open_skel: Skel) -> PredictedPeople:
    """Two people of one photo: one in their own camera at its edge, one in HSMR's."""
    lens = Lens(focal_px=90.0, principal_point=np.array([47.0, 33.0]), source=CameraSource.EXIF)
    people = [unseen_person(PersonId("set", "", "a", i), (80, 20), 50.0, lens) for i in range(2)]
    camera = camera_of(people[0])
    q = np.zeros((2, 46))
    q[:, :3] = (np.pi, 0.1, 0.4)
    photo = Photo(key="a", jpeg=b"", width=WIDTH, height=HEIGHT, people=tuple(people))
    return PredictedPeople(
        people=people,
        photos=[photo, photo],
        q=q,
        betas=np.zeros((2, 10)),
        cam_t=np.array([[0.1, 0.2, 4.0], [0.1, 0.2, 4.0 / 1.8 * FOCAL]]),
        q_std=np.zeros((2, 46)),
        genders=[DEFAULT_GENDER] * 2,
        focal=np.array([camera.focal, FOCAL]),
        camera_source=[CameraSource.EXIF, CameraSource.HSMR],
        camera_turn=np.stack([camera.turn, np.zeros(3)]),
    )


def test_the_photo_s_camera_draws_the_crop_s_picture(open_skel: Skel, batch: PredictedPeople) -> None:
    placed, skin = (
        place_bodies(batch, {DEFAULT_GENDER: open_skel}),
        pose_surfaces(batch, {DEFAULT_GENDER: open_skel}, with_skeleton=False).skin[0],
    )
    lens, camera = batch.people[0].lens, camera_of(batch.people[0])
    assert lens is not None
    seen = skin + batch.cam_t[0]
    drawn = crop_to_photo(camera.focal * seen[:, :2] / seen[:, 2:], lens, camera)
    whole = placed.in_photo(skin, 0) + placed.pelvis[0] + placed.photo_cam_t[0]
    focal_px, x, y = placed.cameras[0]
    np.testing.assert_allclose(focal_px * whole[:, :2] / whole[:, 2:] + (x, y), drawn, atol=1e-3)
    assert placed.cameras[1].focal_px == FOCAL * WIDTH
    np.testing.assert_array_equal(placed.turn[1], np.eye(3))


def test_the_pelvis_of_a_motion_is_turned_as_the_mesh(open_skel: Skel, batch: PredictedPeople) -> None:
    """The mesh posed with the turned angles is the turned mesh."""
    placed = place_bodies(batch, {DEFAULT_GENDER: open_skel})
    orientation, q = PelvisOrientation(open_skel.rig), torch.as_tensor(batch.q)
    turned = torch.cat([orientation.to_q(torch.as_tensor(placed.turn) @ orientation.matrix(q)), q[:, 3:]], 1)
    plain = pose_surfaces(batch, {DEFAULT_GENDER: open_skel}, with_skeleton=False).skin
    posed = pose_surfaces(replace(batch, q=turned.numpy()), {DEFAULT_GENDER: open_skel}, with_skeleton=False).skin
    for row in range(2):
        np.testing.assert_allclose(posed[row] - placed.pelvis[row], placed.in_photo(plain[row], row), atol=1e-5)
    assert to_ground(placed.photo_cam_t + placed.pelvis).shape == (2, 3)


def test_refined_predictions_hold_for_the_person_s_camera(tmp_path: Path) -> None:
    """Of a network of the crop too; those that were not improved stay in HSMR's."""
    (tmp_path / "made").mkdir()
    write_shard(str(tmp_path / "made/000000.tar"), make_samples(3))
    checkpoint, output = saved(tmp_path, "crop"), tmp_path / "out"
    arguments = ["--images", str(tmp_path / "made/000000.tar"), "--checkpoint", checkpoint, "--output", str(output)]
    assert main([*arguments, "--refine"]) == 0
    rows = pq.read_table(output / "predictions.parquet").to_pylist()
    improved = [row for row in rows if row["decision"] == "improved"]
    assert improved
    for row in rows:
        assert row["camera_source"] == ("prior" if row["decision"] == "improved" else "hsmr")
    for row in improved:
        assert row["focal"] == pytest.approx(np.hypot(row["photo_width"], row["photo_height"]) / row["side"])
        assert row["photo_focal_px"] == pytest.approx(row["focal"] * row["side"])
        camera = PersonCamera.of_label(row["focal"], np.array(row["camera_turn"]))
        np.testing.assert_allclose(camera.rotation, Rotation.from_rotvec(row["camera_turn"]).as_matrix())
