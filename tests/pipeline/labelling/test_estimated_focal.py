"""The focal length that a photo's people, or a video's frames, say it was taken with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body import Skel
from pipeline.fit import Skelify
from pipeline.image.camera import project
from pipeline.image.person_camera import person_camera, photo_to_crop
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.estimated_focal import SPREAD, most_probable, with_estimated_focal
from pipeline.labelling.tracks import TrackPart
from schemas.camera import CameraSource, Lens
from schemas.gender import DEFAULT_GENDER, Gender
from schemas.person import Person, PersonId
from tests.pipeline.body.poses import shapes, upright_poses

SIZE, FRAMES = 1000.0, 12
DIAGONAL = SIZE * 2**0.5


def film(skel: Skel, ratio: float, source: CameraSource = CameraSource.PRIOR) -> PersonBatch:
    """Somebody filmed from near by through a lens of `ratio` times the photo's diagonal, which nobody knows of."""
    generator = torch.Generator().manual_seed(5)
    q, betas = upright_poses(FRAMES, 1), shapes(1, 2, size=0.5).repeat(FRAMES, 1)
    q = q + 0.02 * torch.randn(q.shape, generator=generator, dtype=q.dtype)
    body = skel.keypoints(q, betas)
    place = torch.tensor([0.2, 0.1, 2.4 * ratio], dtype=body.dtype).expand(FRAMES, 3)
    photo = project(body, place, torch.full((FRAMES,), ratio * DIAGONAL, dtype=body.dtype)).numpy() + SIZE / 2
    people = []
    for frame in range(FRAMES):
        low, high = photo[frame].min(0), photo[frame].max(0)
        noise = 2.0 * torch.randn(44, 2, generator=generator).numpy()
        people.append(
            Person(
                id=PersonId("film", "000000", f"f{frame:02d}", 0),
                keypoints_2d=np.column_stack([photo[frame] + noise, np.ones(44)]).astype(np.float32),
                keypoints_3d=np.zeros((44, 4), np.float32),
                center=((low + high) / 2).astype(np.float32),
                side=1.2 * float((high - low).max()),
                smpl=None,
                lens=Lens(focal_px=DIAGONAL, principal_point=np.full(2, SIZE / 2), source=source),
            )
        )
    return PersonBatch.from_people(people)


def track(count: int = FRAMES, fps: float = 1.0) -> list[TrackPart]:
    return [TrackPart(np.arange(count), np.arange(count) / fps, np.ones(count, bool))]


@pytest.mark.parametrize("ratio", [0.6, 1.6])
def test_a_video_tells_its_lens(open_skel: Skel, ratio: float) -> None:
    batch, skelify = film(open_skel, ratio), Skelify(open_skel)
    found = with_estimated_focal(batch, LabelBatch.of(batch.ids), {DEFAULT_GENDER: skelify}, track())
    factor = found.focal / batch.focal
    assert np.ptp(factor) < 1e-12, "one video, one lens"
    assert abs(np.log(factor[0] / ratio)) < 0.6 * abs(np.log(1 / ratio)), "nearer than the usual one"
    assert set(found.camera_source) == {CameraSource.ESTIMATED}
    lens = Lens(focal_px=DIAGONAL * factor[0], principal_point=np.full(2, SIZE / 2), source=CameraSource.ESTIMATED)
    center, side = np.array([300.0, 500.0]), 200.0
    assert person_camera(lens, center, side).focal == pytest.approx(lens.focal_px / side)
    assert np.isfinite(photo_to_crop(np.zeros((1, 2)), lens, person_camera(lens, center, side))).all()


def test_an_estimate_of_an_earlier_round_is_kept(open_skel: Skel) -> None:
    batch, skelify = film(open_skel, 0.6), Skelify(open_skel)
    source = np.full(FRAMES, CameraSource.ESTIMATED, object)
    parent = LabelBatch.of(batch.ids, has_label=np.ones(FRAMES, bool), focal=0.7 * batch.focal, camera_source=source)
    found = with_estimated_focal(batch, parent, {DEFAULT_GENDER: skelify}, track())
    np.testing.assert_allclose(found.focal, 0.7 * batch.focal)
    assert set(found.camera_source) == {CameraSource.ESTIMATED}


def test_what_is_known_is_not_estimated(open_skel: Skel) -> None:
    batch = film(open_skel, 0.6, CameraSource.EXIF)
    found = with_estimated_focal(batch, LabelBatch.of(batch.ids), {DEFAULT_GENDER: Skelify(open_skel)}, track())
    np.testing.assert_array_equal(found.keypoints, batch.keypoints)
    assert set(found.camera_source) == {CameraSource.EXIF}


def test_seven_frames_are_too_few_to_be_believed(open_skel: Skel) -> None:
    batch = film(open_skel, 0.6).take(np.arange(7))
    found = with_estimated_focal(batch, LabelBatch.of(batch.ids), {DEFAULT_GENDER: Skelify(open_skel)}, track(7))
    np.testing.assert_array_equal(found.focal, batch.focal)
    assert set(found.camera_source) == {CameraSource.PRIOR}


def test_a_second_says_no_more_than_one_frame_of_it(open_skel: Skel) -> None:
    batch = film(open_skel, 0.6)
    found = with_estimated_focal(batch, LabelBatch.of(batch.ids), {DEFAULT_GENDER: Skelify(open_skel)}, track(fps=25.0))
    assert set(found.camera_source) == {CameraSource.PRIOR}


@given(st.floats(-0.7, 0.7), st.floats(0.1, 1e4))
def test_the_most_probable_of_a_parabola(best: float, sharp: float) -> None:
    costs = sharp * (np.array([-0.5, 0.0, 0.5]) - best) ** 2
    assert most_probable(costs, 0) == pytest.approx(best * sharp / (sharp + 1 / SPREAD**2), abs=1e-6)


def test_a_crowd_of_both_genders_has_one_lens(open_skel: Skel) -> None:
    """By the fits of each person's body, which is one here: as if all were men."""
    batch, skelify = film(open_skel, 0.6), Skelify(open_skel)
    mixed = replace(batch, gender=np.array(["male", "female", "female"] * (FRAMES // 3), object))
    fits: dict[Gender, Skelify] = {"male": skelify, "female": skelify}
    alike, found = (with_estimated_focal(people, LabelBatch.of(batch.ids), fits, track()) for people in (batch, mixed))
    np.testing.assert_allclose(found.focal, alike.focal, rtol=1e-9)
    assert set(found.camera_source) == {CameraSource.ESTIMATED}
