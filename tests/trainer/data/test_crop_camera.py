"""The camera of an augmented crop: a body that a true label describes lands on the augmented keypoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body import load_skel
from pipeline.image.camera import FOCAL, project
from pipeline.image.person_camera import PersonCamera, person_camera, photo_points
from pipeline.shards import list_shards, write_shard
from schemas.camera import CameraSource, Lens
from schemas.keypoints import FLIP_PERMUTATION
from schemas.person import Person, PersonId
from tests.trainer.data.made_generation import ids_of, label_table, make_generation, of_skel, samples, write_labels
from trainer.data import TrainDataConfig, open_epoch, open_validation
from trainer.data.augmentation import PLAIN, Augmentation, augmented_crop
from trainer.data.batch import TrainBatch
from trainer.data.collate import collate, keypoints_3d_in_crop, keypoints_in_crop
from trainer.data.crop_camera import pinhole_crop
from trainer.data.join import LabelRow
from trainer.data.label_index import index_labels
from trainer.data.sample import Sample
from trainer.data.shard_walk import JoinedPerson
from trainer.data.skel_labels import q_in_crop
from trainer.data.weights import LabelWeightConfig

SKEL = load_skel(dtype=torch.float64)
ID = PersonId("made", "000000", "a", 0)
AUGMENTATIONS = st.builds(
    Augmentation,
    scale=st.floats(0.7, 1.3),
    rotation_deg=st.floats(-60, 60),
    shift=st.tuples(st.floats(-0.02, 0.02), st.floats(-0.02, 0.02)),
    color_scale=st.just((1.0, 1.0, 1.0)),
    flip=st.booleans(),
    extreme=st.one_of(st.none(), st.floats(0, 1, exclude_max=True)),
)


@st.composite
def cameras(draw: st.DrawFn) -> tuple[Lens, np.ndarray, float]:
    """A lens, and a crop whose focal length is 0.8 to 30 of its sides, up to 50 degrees off the photo's axis."""
    side, angle, off = draw(st.floats(100, 2000)), draw(st.floats(0, 2 * np.pi)), draw(st.floats(0, 50))
    focal = draw(st.floats(0.8, 30)) * side
    lens = Lens(focal_px=focal, principal_point=np.array([900.0, 500.0]), source=CameraSource.CALIBRATION)
    center = lens.principal_point + focal * np.tan(np.deg2rad(off)) * np.array([np.cos(angle), np.sin(angle)])
    return lens, center, side


def posed(seed: int, camera: PersonCamera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q (46,) of somebody in front of the crop's camera, upright in the image; keypoints (44, 3) m with cam_t; and
    the pelvis joint there.
    """
    rng = np.random.default_rng(seed)
    q = np.concatenate([rng.uniform(-0.6, 0.6, 3), rng.normal(0, 0.2, 43)]).astype(np.float32)
    cam_t = np.array([*rng.normal(0, 0.1, 2), 2 * camera.focal / rng.uniform(0.5, 1.0)])
    cam_t[2] = max(cam_t[2], 1.2)
    points, pelvis = body(q)
    return q, points + cam_t, pelvis + cam_t


def body(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pose, betas = torch.from_numpy(q.astype(np.float64))[None], torch.zeros(1, 10, dtype=torch.float64)
    return SKEL.keypoints(pose, betas)[0].numpy(), SKEL.joints(pose, betas)[0, 0].numpy()


def person_of(places: np.ndarray, lens: Lens, center: np.ndarray, side: float, points_3d: np.ndarray) -> Person:
    """places (44, 3) m in the photo's camera."""
    return Person(
        id=ID,
        keypoints_2d=np.column_stack([photo_points(lens, places), np.ones(44)]).astype(np.float32),
        keypoints_3d=np.column_stack([points_3d, np.ones(44)]).astype(np.float32),
        center=center.astype(np.float32),
        side=side,
        smpl=None,
    )


@given(photo=cameras(), augmentation=AUGMENTATIONS, seed=st.integers(0, 2**32 - 1))
def test_a_true_body_lands_on_the_augmented_keypoints(
    photo: tuple[Lens, np.ndarray, float], augmentation: Augmentation, seed: int
) -> None:
    """Mirrored, the points themselves go into the mirror: the open body's two sides differ by a millimetre."""
    lens, center, side = photo
    center = center.astype(np.float32).astype(np.float64)
    camera = person_camera(lens, center, side)
    q, places, pelvis = posed(seed, camera)
    person = person_of(places @ camera.rotation.T, lens, center, side, places)
    transform = augmented_crop(augmentation, person.keypoints_2d, person.center, person.side)
    crop = pinhole_crop(transform, PersonCamera.of_label(camera.focal, camera.turn), person.center, person.side)
    unmirrored = q_in_crop(q[None], np.array([False]), np.zeros(1), crop.from_label[None])[0]
    turned, turned_pelvis = body(unmirrored)
    cam_t = crop.from_label @ pelvis - turned_pelvis  # the same place, in the axes of the crop's camera
    seen = turned + cam_t
    seen[:, :2] = seen[:, :2] @ crop.plane.T
    flat = project(torch.from_numpy(seen)[None], torch.zeros(1, 3).double(), torch.tensor([crop.camera.focal]))[0]
    expected = keypoints_in_crop(person.keypoints_2d, crop)
    near = expected[:, 2] > 0
    shown = flat.numpy()[list(FLIP_PERMUTATION)] if augmentation.flip else flat.numpy()
    assert near.mean() > 0.5
    in_view = near & (np.abs(expected[:, :2]).max(1) < 2)  # float32 px, magnified by what lies far outside
    np.testing.assert_allclose(shown[in_view], expected[in_view, :2], atol=1e-4)
    assert crop.mirrored == augmentation.flip
    # and so does the body of the whole augmented q, to what its sides differ by
    whole = q_in_crop(
        q[None], np.array([augmentation.flip]), np.deg2rad([augmentation.rotation_deg]), crop.from_label[None]
    )
    relative = body(whole[0])[0] - body(whole[0])[1]
    points = np.column_stack([places - pelvis, np.ones(44)]).astype(np.float32)
    turned_3d = keypoints_3d_in_crop(points, augmentation, crop.from_label)[:, :3]
    np.testing.assert_allclose(relative, turned_3d, atol=8e-3 if augmentation.flip else 1e-4)


@given(photo=cameras())
def test_the_plain_crop_has_the_label_s_own_camera(photo: tuple[Lens, np.ndarray, float]) -> None:
    lens, center, side = photo
    camera = person_camera(lens, center, side)
    crop = pinhole_crop(augmented_crop(PLAIN, np.zeros((44, 3)), center, side), camera, center, side)
    assert crop.camera.focal == pytest.approx(camera.focal)
    np.testing.assert_allclose(crop.from_label, np.eye(3), atol=1e-7)
    np.testing.assert_allclose(crop(center[None]), 0, atol=1e-9)
    offset = center - lens.principal_point
    angle = np.arctan(np.hypot(*offset) / lens.focal_px)
    np.testing.assert_allclose(crop.ray, offset / max(np.hypot(*offset), 1e-12) * angle, atol=1e-7)


@given(photo=cameras(), angle=st.floats(-60, 60), flip=st.booleans())
def test_the_ray_turns_and_mirrors_with_the_crop(
    photo: tuple[Lens, np.ndarray, float], angle: float, flip: bool
) -> None:
    """The photo's principal point lies, as seen in the crop, on the other side of the ray."""
    lens, center, side = photo
    camera = person_camera(lens, center, side)
    augmented = replace(PLAIN, rotation_deg=angle, flip=flip)
    crop = pinhole_crop(augmented_crop(augmented, np.zeros((44, 3)), center, side), camera, center, side)
    axis = crop(lens.principal_point[None])[0]
    seen_at = np.arctan(np.hypot(*axis) / crop.camera.focal)
    np.testing.assert_allclose(-axis / max(np.hypot(*axis), 1e-12) * seen_at, crop.ray, atol=1e-6)


def joined(person: Person, q: np.ndarray, camera: PersonCamera, *, calibrated: bool) -> JoinedPerson:
    sample = Sample(
        person=person,
        augmentation=PLAIN,
        transform=augmented_crop(PLAIN, person.keypoints_2d, person.center, person.side),
        patch=np.zeros((3, 256, 256), np.uint8),
    )
    label = LabelRow(
        has_label=True,
        q=q,
        betas=np.zeros(10, np.float32),
        q_std=np.zeros(46, np.float32),
        poor_fit=False,
        camera=camera,
        calibrated=calibrated,
    )
    return JoinedPerson(row=0, id=ID, label=label, sample=sample)


@pytest.mark.parametrize("mode", ["crop", "full"])
@pytest.mark.parametrize("calibrated", [True, False])
def test_measured_points_are_turned_from_the_photo_s_axes(mode: str, calibrated: bool) -> None:
    """As the label: of a network of camera=crop too, though its 2D keypoints are those of the affine crop."""
    lens = Lens(focal_px=1000.0, principal_point=np.array([900.0, 500.0]), source=CameraSource.CALIBRATION)
    center, side = np.array([1700.0, 200.0]), 400.0
    camera = person_camera(lens, center, side)
    q, places, pelvis = posed(3, camera)
    relative = places - pelvis
    person = person_of(
        places @ camera.rotation.T, lens, center, side, relative @ camera.rotation.T if calibrated else relative
    )
    people = [joined(person, q, camera, calibrated=calibrated)]
    (batch,) = of_skel([collate(people, LabelWeightConfig(), mode)])  # type: ignore[arg-type]
    np.testing.assert_allclose(batch.keypoints_3d[0, :, :3], relative, atol=1e-5)
    np.testing.assert_allclose(batch.q[0], q, atol=1e-5)
    if mode == "crop":
        assert (float(batch.focal[0]), batch.ray.tolist()) == (FOCAL, [[0.0, 0.0]])
        affine = keypoints_in_crop(person.keypoints_2d, augmented_crop(PLAIN, person.keypoints_2d, center, side))
        np.testing.assert_array_equal(batch.keypoints_2d[0], affine)
    else:
        assert float(batch.focal[0]) == pytest.approx(2.5)
        expected = camera.focal * places[:, :2] / places[:, 2:]
        np.testing.assert_allclose(batch.keypoints_2d[0, :, :2], expected, atol=1e-4)


def batches(index: object, mode: str) -> list[TrainBatch]:
    config = TrainDataConfig(global_batch=4, lanes=2, held_out_share=0.0)
    return of_skel(open_epoch(config, index, 0, camera=mode))  # type: ignore[arg-type]


def test_streams_take_the_cameras_of_the_label_rows(tmp_path: Path) -> None:
    """Rows that name no camera hold for HSMR's, whose crop camera grows as the augmented crop shrinks."""
    index = make_generation(tmp_path, shards=1, photos=4)
    for batch in batches(index, "crop"):
        assert (batch.focal == FOCAL).all()
        assert not batch.ray.any()
    full = batches(index, "full")
    assert all(float(f) > 0.5 * FOCAL for batch in full for f in batch.focal)
    assert any(batch.ray.any() for batch in full)
    content = samples("made", 0, 4)
    write_shard(str(tmp_path / "made/000007.tar"), content)
    table = label_table(ids_of("made", "000007", content))
    for name, value in {"focal": 2.0, "camera_turn": [0.1, -0.3, 0.0]}.items():
        field = table.schema.field(name)
        column = pa.array([value] * table.num_rows, field.type)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    files = dict([write_labels(tmp_path, "made", "000007", table)])
    own = index_labels(files, list_shards(str(tmp_path / "made/000007.tar")), 1.0)
    held_out = open_validation(TrainDataConfig(global_batch=4, lanes=2), own, batch_size=4, camera="full")
    for batch in held_out:
        np.testing.assert_allclose(batch.focal, 2.0, rtol=1e-6)
        np.testing.assert_allclose(batch.ray, np.tile([-0.3, -0.1], (len(batch), 1)), atol=1e-6)
