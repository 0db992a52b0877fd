"""People stand where the photo's camera sees them whole, not too near, at every place and from above and below."""

import numpy as np
import pytest
import torch

from pipeline.body import Skel
from pipeline.body.representation import orientation_to_matrix
from pipeline.demo_set.photo_cameras import KNOWN_AS, PhotoCamera, before_a_pinhole, sample_cameras
from pipeline.demo_set.placement import NEAREST_M
from pipeline.demo_set.population import Population, make_population
from pipeline.image.person_camera import crop_to_photo, photo_points
from schemas.camera import CameraSource

PEOPLE = 150


@pytest.fixture(scope="module")
def made(skel: Skel) -> tuple[Population, list[PhotoCamera]]:
    return make_population(np.random.default_rng(4), skel, [[person] for person in range(PEOPLE)])


def test_truth_in_the_crop_is_the_truth_in_the_photo(made: tuple[Population, list[PhotoCamera]], skel: Skel) -> None:
    """The stored q, betas and cam_t under the crop camera, brought to the photo by its lens, are the keypoints that the
    detector is shown, and so is what is drawn, to 0.01 px; with distortion too.
    """
    population, cameras = made
    points = skel.keypoints(*(torch.as_tensor(x) for x in (population.q, population.betas))).double().numpy()
    for person, camera in enumerate(cameras):
        place, figure = population.places[person], population.figure(person)
        own = points[person] + population.cam_t[person]
        crop = place.camera.focal * own[:, :2] / own[:, 2:]
        shown = photo_points(camera.lens, figure.keypoints)
        assert np.abs(crop_to_photo(crop, camera.lens, place.camera) - shown).max() < 0.01
        drawn = before_a_pinhole(camera.lens, figure.keypoints)
        pixels = camera.lens.focal_px * drawn[:, :2] / drawn[:, 2:] + camera.lens.principal_point
        assert np.abs(pixels - shown).max() < 1e-6


def test_true_meshes_are_those_of_the_model(made: tuple[Population, list[PhotoCamera]], skel: Skel) -> None:
    """What is turned into the crop's axes is what the model makes of the stored q, to 0.01 mm."""
    population, _ = made
    q, betas = (torch.as_tensor(x[:20]) for x in (population.q, population.betas))
    assert np.abs(skel.forward(q, betas).skin_vertices.numpy() - population.vertices[:20]).max() < 1e-5


def test_nine_of_ten_are_whole_and_nobody_is_too_near(made: tuple[Population, list[PhotoCamera]]) -> None:
    population, cameras = made
    whole = []
    for person, camera in enumerate(cameras):
        vertices = population.figure(person).vertices
        assert vertices[:, 2].min() > NEAREST_M - 0.05
        pixels = photo_points(camera.lens, vertices)
        whole.append((pixels > -2).all() and (pixels < np.array([camera.width, camera.height]) + 2).all())
    assert 0.8 < np.mean(whole) < 0.98


def test_people_are_seen_from_above_and_below_and_off_the_middle(made: tuple[Population, list[PhotoCamera]]) -> None:
    population, cameras = made
    tilt = np.rad2deg([np.arctan2(camera.from_level[2, 1], camera.from_level[1, 1]) for camera in cameras])
    assert 9 < np.std(tilt) < 15
    assert np.abs(tilt).max() <= 35.01
    off = np.rad2deg([np.linalg.norm(place.camera.turn) for place in population.places])
    assert np.median(off) > 4
    assert off.max() > 15
    up = orientation_to_matrix(torch.as_tensor(population.q[:, :3])).numpy()[:, :, 1]
    upright = -up[:, 1] > 0.7  # camera y points down
    assert np.mean(upright) > 0.6


def test_lenses_are_those_of_cameras() -> None:
    cameras = sample_cameras(np.random.default_rng(0), [1] * 300)
    focal_mm = np.array([camera.focal_mm for camera in cameras])
    assert focal_mm.min() > 27.9
    assert focal_mm.max() < 85.1
    assert 45 < np.median(focal_mm) < 53
    middles = np.array([camera.lens.principal_point - [camera.width / 2, camera.height / 2] for camera in cameras])
    assert 0.2 < (middles != 0).any(axis=1).mean() < 0.45
    assert np.abs(middles).max() < 20
    by_source = {source: [c for c in cameras if c.lens.source is source] for source in CameraSource}
    assert [len(by_source[s]) for s in KNOWN_AS] == [100, 100, 100]
    assert 0.3 < np.mean([c.lens.distortion.any() for c in by_source[CameraSource.CALIBRATION]]) < 0.7
    assert not any(c.lens.distortion.any() for c in by_source[CameraSource.EXIF] + by_source[CameraSource.PRIOR])
