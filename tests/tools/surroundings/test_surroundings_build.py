"""Light of panoramas that can be worked out by hand, and pictures of them."""

import numpy as np

from pipeline.demo_set.surroundings import harmonics
from tools.surroundings.build import irradiance, picture

DIRECTIONS = np.array([[0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, -1], [0.6, -0.8, 0]], float)


def test_even_light_is_even() -> None:
    light = harmonics(DIRECTIONS) @ irradiance(np.full((64, 128, 3), 7.0))
    np.testing.assert_allclose(light, 1.0, atol=2e-3)


def test_a_bright_sky_lights_by_half_one_plus_cosine() -> None:
    """A white sky over black ground: radiance (1 + cos) / 2 of the sky's, to the zenith; the mean is one half."""
    panorama = np.zeros((128, 256, 3))
    panorama[:64] = 3.0
    light = harmonics(DIRECTIONS) @ irradiance(panorama)
    np.testing.assert_allclose(light, (1 - DIRECTIONS[:, 1:2]) * np.ones(3), atol=5e-3)


def test_colours_of_the_light_stay() -> None:
    panorama = np.full((32, 64, 3), [2.0, 1.0, 0.5])
    light = harmonics(DIRECTIONS) @ irradiance(panorama)
    np.testing.assert_allclose(light / light[:, 1:2], np.broadcast_to([2.0, 1.0, 0.5], (5, 3)), atol=1e-3)


def test_pictures_rise_with_the_light_and_show_no_holes_beside_the_sun() -> None:
    panorama = np.repeat(np.geomspace(0.01, 100, 64)[None, :, None], 32, 0).repeat(3, 2)
    grey = picture(panorama)[16, :, 0].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey[0] < 40
    assert grey[-1] == 255
    panorama[16, 60] = -500.0  # as the file's compression rings
    assert picture(panorama)[16, 60, 0] > 200
