"""Another focal length for the same photo, without the photo."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image.person_camera import person_camera, photo_to_crop
from pipeline.image.refocus import refocused
from schemas.camera import CameraSource, Lens


@given(st.integers(0, 2**32 - 1), st.floats(0.4, 3.0), st.floats(0.6, 4.0))
def test_it_is_what_a_lens_of_that_focal_length_sees(seed: int, factor: float, focal: float) -> None:
    rng = np.random.default_rng(seed)
    middle, sides = np.array([640.0, 480.0]), rng.uniform(100, 500, 3)
    centers, points = rng.uniform((0, 0), (1280, 960), (3, 2)), rng.uniform((0, 0), (1280, 960), (3, 44, 2))

    def seen(focal_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lens = Lens(focal_px=focal_px, principal_point=middle, source=CameraSource.PRIOR)
        cameras = [person_camera(lens, center, side) for center, side in zip(centers, sides, strict=True)]
        crop = np.stack([photo_to_crop(p, lens, camera) for p, camera in zip(points, cameras, strict=True)])
        keypoints = np.concatenate([crop, np.ones((3, 44, 1))], -1)
        return keypoints, np.array([c.focal for c in cameras]), np.stack([c.rotation for c in cameras])

    found = refocused(*seen(1600 * focal), np.full(3, factor))
    for got, expected in zip(found, seen(1600 * focal * factor), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-7, rtol=1e-7)
