"""What stands in a direction of the place is seen there in the photo, and lights from there."""

from math import pi

import numpy as np
import pytest

from pipeline.demo_set.photo_cameras import PhotoCamera, sample_cameras
from pipeline.demo_set.surroundings import PLACES, Outlook, Surroundings, angles, harmonics, load_surroundings
from pipeline.image.person_camera import photo_points


def camera(number: int) -> PhotoCamera:
    return sample_cameras(np.random.default_rng(8), [1] * 6)[number]


def directions(count: int) -> np.ndarray:
    normals = np.random.default_rng(1).normal(size=(count, 3))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_harmonics_are_orthonormal() -> None:
    basis = harmonics(directions(200_000))
    np.testing.assert_allclose(4 * pi * basis.T @ basis / len(basis), np.eye(9), atol=0.03)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("heading", [0.0, 2.0, -3.0])
def test_a_lamp_is_seen_where_the_lens_shows_its_direction(number: int, heading: float) -> None:
    """One bright spot of the panorama, towards a point right of and above the photo's middle."""
    taken_by = camera(number)
    seen = np.array([[0.12, -0.1, 1.0]])
    level = seen @ taken_by.from_level
    longitude, latitude = (float(x[0]) for x in angles(level))
    panorama = np.zeros((256, 512, 3), np.uint8)
    row = round((0.5 + latitude / pi) * 256 - 0.5)
    column = round((0.5 + (longitude + heading) / (2 * pi)) * 512 - 0.5) % 512
    panorama[row, column] = 255
    place = Surroundings(panorama=panorama, irradiance=np.zeros((9, 3)))
    picture = Outlook(place=place, heading=heading, camera=taken_by).background()
    found = np.array(np.unravel_index(picture[..., 0].argmax(), picture.shape[:2]))[::-1]
    pixel_deg = 0.75  # of the panorama
    assert np.linalg.norm(found - photo_points(taken_by.lens, seen)[0]) < np.deg2rad(pixel_deg) * taken_by.lens.focal_px


def test_light_comes_from_where_it_is_in_the_place() -> None:
    """A lamp forward in the place: behind the people when the camera looks at it, behind the camera when it turns."""
    toward = harmonics(np.array([[0.0, 0.0, 1.0]]))[0]
    place = Surroundings(panorama=np.zeros((2, 4, 3), np.uint8), irradiance=np.repeat(toward[:, None], 3, 1))
    normals = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    against, with_it = (Outlook(place=place, heading=h, camera=camera(0)).shading(normals)[:, 0] for h in (0.0, pi))
    assert against[0] > 1.2 * against[1]
    assert with_it[1] > 1.2 * with_it[0]


def test_places_that_ship_light_people_within_reason() -> None:
    places = load_surroundings()
    assert len(places) == 18
    assert sum(file.stat().st_size for file in PLACES.iterdir() if file.is_file()) < 450_000
    normals = directions(2000)
    for place in places:
        assert place.panorama.shape == (256, 512, 3)
        shading = Outlook(place=place, heading=0.3, camera=camera(1)).shading(normals)
        assert 0.6 < shading.mean() < 1.0
        assert 0.15 < shading.min() < shading.max() < 2.3
