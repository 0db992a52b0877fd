"""The person's camera: photo px to crop and back, and a label drawn in either is the same picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image.person_camera import (
    crop_to_photo,
    person_camera,
    photo_points,
    photo_rays,
    photo_to_crop,
    principal_point,
)
from schemas.camera import CameraSource, Lens

WIDTH, HEIGHT = 1080, 1920


@st.composite
def crops(draw: st.DrawFn, distorted: bool = True) -> tuple[Lens, np.ndarray, float]:
    """A lens of 24 to 300 mm (35 mm equivalent), and a crop anywhere in its photo."""
    number = lambda low, high: draw(st.floats(low, high))  # noqa: E731
    distortion = [number(-0.1, 0.1), number(-0.05, 0.05), number(-1e-3, 1e-3), number(-1e-3, 1e-3)]
    lens = Lens(
        focal_px=HEIGHT * number(24, 300) / 36,
        principal_point=np.array([WIDTH / 2 + number(-50, 50), HEIGHT / 2 + number(-50, 50)]),
        distortion=np.array(distortion if distorted and draw(st.booleans()) else [0.0] * 4),
        source=CameraSource.CALIBRATION,
    )
    return lens, np.array([number(0, WIDTH), number(0, HEIGHT)]), number(60, 1500)


@given(crops(), st.integers(0, 2**32 - 1))
def test_photo_to_crop_and_back(crop: tuple[Lens, np.ndarray, float], seed: int) -> None:
    lens, center, side = crop
    camera = person_camera(lens, center, side)
    points = np.random.default_rng(seed).uniform((0, 0), (WIDTH, HEIGHT), (20, 2))
    np.testing.assert_allclose(crop_to_photo(photo_to_crop(points, lens, camera), lens, camera), points, atol=1e-6)


@given(crops())
def test_it_looks_at_the_middle_of_the_crop_with_the_lens_focal_length(crop: tuple[Lens, np.ndarray, float]) -> None:
    lens, center, side = crop
    camera = person_camera(lens, center, side)
    assert camera.focal == pytest.approx(lens.focal_px / side)
    np.testing.assert_allclose(photo_to_crop(center[None], lens, camera), 0, atol=1e-9)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)


@given(crops(), st.integers(0, 2**32 - 1))
def test_a_label_is_the_same_picture_in_crop_and_photo(crop: tuple[Lens, np.ndarray, float], seed: int) -> None:
    """Projected in the crop's axes and taken to the photo, or turned into the photo's axes and projected there."""
    lens, center, side = crop
    camera = person_camera(lens, center, side)
    body = np.random.default_rng(seed).normal(0, 0.4, (30, 3))
    body[:, 2] += max(3 * camera.focal, 2.0)
    in_crop = camera.focal * body[:, :2] / body[:, 2:]
    drawn, turned = crop_to_photo(in_crop, lens, camera), photo_points(lens, body @ camera.rotation.T)
    np.testing.assert_allclose(drawn, turned, atol=0.01)


@given(crops(distorted=False))
def test_the_row_of_a_label_tells_the_principal_point(crop: tuple[Lens, np.ndarray, float]) -> None:
    lens, center, side = crop
    camera = person_camera(lens, center, side)
    np.testing.assert_allclose(principal_point(camera, center, side), lens.principal_point, atol=1e-6)


def test_the_footage_s_own_undistorted_points_are_met(shared_dir: object) -> None:
    """Against OpenCV's, in the calibrated footage."""
    with np.load(f"{shared_dir}/data/multiview/truth.npz", allow_pickle=False) as truth:
        for view in range(4):
            matrix = truth["camera_matrix"][view]
            lens = Lens(
                focal_px=float(matrix[0, 0]),
                principal_point=matrix[:2, 2],
                distortion=truth["distortion"][view],
                source=CameraSource.CALIBRATION,
            )
            seen = truth["points_2d"][view, ..., 2].reshape(-1) > 0
            points = truth["points_2d"][view, ..., :2].reshape(-1, 2)[seen]
            ours = photo_rays(lens, points)[:, :2] * lens.focal_px + lens.principal_point
            theirs = truth["points_2d_undistorted"][view, ..., :2].reshape(-1, 2)[seen]
            np.testing.assert_allclose(ours, theirs, atol=0.1)  # one focal length for both axes


def test_a_focal_length_that_no_camera_has_is_refused() -> None:
    with pytest.raises(ValueError, match="focal_px"):
        Lens(focal_px=-1.0, principal_point=np.zeros(2), source=CameraSource.EXIF)
