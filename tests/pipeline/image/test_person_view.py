"""What a person's own camera sees of their keypoints and labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.image.camera import FOCAL
from pipeline.image.crop import to_crop_units
from pipeline.image.person_camera import PersonCamera, photo_points, principal_point
from pipeline.image.person_view import person_view
from schemas.camera import CameraSource, Lens
from schemas.person import Person, PersonId, SmplLabel

CENTER, SIDE = np.array([150.0, 620.0], np.float32), 300.0


def person(points: np.ndarray, lens: Lens | None, body: np.ndarray, pose: np.ndarray) -> Person:
    return Person(
        id=PersonId("made", "000000", "a", 0),
        keypoints_2d=np.column_stack([points, np.ones(44)]).astype(np.float32),
        keypoints_3d=np.column_stack([body, np.ones(44)]).astype(np.float32),
        center=CENTER,
        side=SIDE,
        smpl=SmplLabel(pose=pose.astype(np.float32), betas=np.zeros(10, np.float32)),
        lens=lens,
    )


def lens(source: CameraSource, focal: float = 900.0) -> Lens:
    return Lens(focal_px=focal, principal_point=np.array([500.0, 400.0]), source=source)


@given(st.integers(0, 2**32 - 1), st.floats(400, 4000))
def test_a_calibrated_body_is_turned_into_the_axes_in_which_its_keypoints_are_seen(seed: int, focal: float) -> None:
    rng = np.random.default_rng(seed)
    body, place = rng.normal(0, 0.4, (44, 3)), np.array([-0.8, 0.5, 4.0])
    pose = rng.normal(0, 0.5, (24, 3))
    known = lens(CameraSource.CALIBRATION, focal)
    view = person_view(person(photo_points(known, body + place), known, body, pose))
    rotation = Rotation.from_rotvec(view.turn.astype(np.float64)).as_matrix()
    seen = view.keypoints_3d[:, :3].astype(np.float64) + place @ rotation
    np.testing.assert_allclose(view.focal * seen[:, :2] / seen[:, 2:], view.keypoints[:, :2], atol=2e-5)
    assert view.smpl is not None
    root = Rotation.from_rotvec(pose[0].astype(np.float32)).as_matrix()
    np.testing.assert_allclose(rotation @ Rotation.from_rotvec(view.smpl.pose[0]).as_matrix(), root, atol=1e-5)
    np.testing.assert_array_equal(view.smpl.pose[1:], pose[1:].astype(np.float32))
    assert view.focal == pytest.approx(focal / SIDE)


def test_pseudo_labels_hold_in_the_crop_camera_as_they_are() -> None:
    body, pose = np.ones((44, 3)), np.ones((24, 3))
    who = person(np.full((44, 2), 300.0), lens(CameraSource.EXIF), body, pose)
    view = person_view(who)
    assert view.source is CameraSource.EXIF
    assert view.keypoints_3d is who.keypoints_3d
    assert view.smpl is who.smpl


def test_without_a_lens_it_is_the_camera_of_hsmr() -> None:
    who = person(np.random.default_rng(0).uniform(0, 600, (44, 2)), None, np.ones((44, 3)), np.ones((24, 3)))
    view = person_view(who)
    np.testing.assert_array_equal(view.keypoints, to_crop_units(who.keypoints_2d, CENTER, SIDE))
    assert (view.focal, view.source, view.turn.tolist()) == (FOCAL, CameraSource.HSMR, [0, 0, 0])


def test_the_columns_of_a_row_give_the_camera_back() -> None:
    view = person_view(person(np.full((44, 2), 300.0), lens(CameraSource.PRIOR), np.ones((44, 3)), np.ones((24, 3))))
    camera = PersonCamera.of_label(view.focal, view.turn)
    np.testing.assert_allclose(principal_point(camera, CENTER, SIDE), [500, 400], atol=1e-2)
    older = PersonCamera.of_label(None, np.zeros(3, np.float32))
    assert older.focal == FOCAL
    np.testing.assert_array_equal(principal_point(older, CENTER, SIDE), CENTER)
