"""Properties of the crop, its augmentation and what goes along: they agree with pipeline.image.crop, undo, repeat."""

import math

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body import load_skel
from pipeline.image.crop import CROP_PX, to_crop_units
from schemas.keypoints import FLIP_PERMUTATION
from schemas.person import Person, PersonId, Photo
from tests.pipeline.shards.samples import photo_bytes
from trainer.data import AugmentConfig, plain_patches
from trainer.data.augmentation import PLAIN, Augmentation, augmented_crop, draw
from trainer.data.collate import keypoints_3d_in_crop, keypoints_in_crop
from trainer.data.decode import DamagedPhotoError, Picture, dct_factor, decode_photo
from trainer.data.extreme_crop import Box, extreme_crop
from trainer.data.patch import crop_transform, cut_patch
from trainer.data.skel_labels import q_in_crop

FINITE = st.floats(-500, 1500, width=32)
POINTS = st.tuples(FINITE, FINITE)
CROPS = st.builds(
    crop_transform,
    center=POINTS.map(np.array),
    side=st.floats(4, 5000),
    scale=st.floats(0.7, 1.3),
    rotation_deg=st.floats(-60, 60),
    mirrored=st.booleans(),
)


def an_id(person: int = 0) -> PersonId:
    return PersonId("set", "000000", "set/a", person)


def augmentation(rotation_deg: float = 0.0, flip: bool = False) -> Augmentation:
    return Augmentation(
        scale=1.0, rotation_deg=rotation_deg, shift=(0.0, 0.0), color_scale=(1.0, 1.0, 1.0), flip=flip, extreme=None
    )


@given(center=POINTS, side=st.floats(4, 5000), point=POINTS)
def test_without_augmentation_the_crop_is_that_of_the_fits(
    center: tuple[float, float], side: float, point: tuple[float, float]
) -> None:
    c, p = np.array(center, np.float32), np.array([point], np.float32)
    crop = augmented_crop(PLAIN, np.zeros((44, 3), np.float32), c, side)
    tolerance = 1e-5 * (1 + np.abs(crop(p)).max() + 2000 / side)  # pipeline.image.crop computes in float32
    np.testing.assert_allclose(crop(p), to_crop_units(p, c, side), atol=tolerance)
    np.testing.assert_allclose(crop.inverse(to_crop_units(p, c, side)), p, atol=0.02)


@given(crop=CROPS, point=POINTS)
def test_round_trip(crop, point: tuple[float, float]) -> None:
    p = np.array([point], np.float64)
    np.testing.assert_allclose(crop.inverse(crop(p)), p, atol=1e-8)
    assert (np.linalg.det(crop.matrix[:, :2]) < 0) == crop.mirrored


@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(-60, 60))
def test_mirroring_twice_is_nothing(seed: int, angle: float) -> None:
    rng = np.random.default_rng(seed)
    keypoints_3d = np.column_stack([rng.normal(size=(44, 3)), rng.uniform(0.3, 1, 44)]).astype(np.float32)
    once = keypoints_3d_in_crop(keypoints_3d, augmentation(flip=True))
    np.testing.assert_array_equal(keypoints_3d_in_crop(once, augmentation(flip=True)), keypoints_3d)
    q, yes, none = rng.normal(0, 0.3, (1, 46)).astype(np.float32), np.array([True]), np.zeros(1)
    np.testing.assert_allclose(q_in_crop(q_in_crop(q, yes, none), yes, none), q, atol=1e-6)
    # mirrored, a turn goes the other way
    rotation = np.deg2rad([angle])
    turned = q_in_crop(q_in_crop(q, yes, rotation), yes, rotation)
    np.testing.assert_allclose(turned, q, atol=1e-5)


@pytest.mark.parametrize(("angle", "flip"), [(25.0, False), (0.0, True), (-40.0, True)])
def test_q_and_keypoints_3d_and_the_picture_turn_together(angle: float, flip: bool) -> None:
    """The body posed with the augmented q shows its joints where the augmented points are.

    The open body is symmetric to a millimetre or two, so the mirrored pose is compared to 5 mm.
    """
    skel, rng = load_skel(), np.random.default_rng(0)
    q = rng.normal(0, 0.2, (1, 46)).astype(np.float32)
    betas = torch.zeros(1, 10)
    augmented = augmentation(angle, flip)
    shown = q_in_crop(q, np.array([flip]), np.deg2rad([angle]))
    points = [skel.keypoints(torch.from_numpy(x), betas)[0].numpy() for x in (q, shown)]
    before, after = (
        p - skel.joints(torch.from_numpy(x), betas)[0, 0].numpy() for p, x in zip(points, (q, shown), strict=True)
    )
    expected = keypoints_3d_in_crop(np.column_stack([before, np.ones(44)]).astype(np.float32), augmented)[:, :3]
    np.testing.assert_allclose(after, expected, atol=5e-3 if flip else 1e-4)
    # and the photo's x, y axes go where the 3D points' do, up to the scale of the crop
    crop = crop_transform(np.zeros(2), 1.0, rotation_deg=angle, mirrored=flip)
    flat = crop(before[:, :2])[list(FLIP_PERMUTATION)] if flip else crop(before[:, :2])
    np.testing.assert_allclose(flat, expected[:, :2], atol=1e-5)


def test_far_keypoints_lose_their_confidence() -> None:
    keypoints = np.zeros((44, 3), np.float32)
    keypoints[3] = (3e38, 0, 1)
    keypoints[4] = (10, 10, 1)
    out = keypoints_in_crop(keypoints, crop_transform(np.zeros(2), 4.0, scale=0.7))
    np.testing.assert_array_equal(out[3], 0)
    assert out[4, 2] == 1
    keypoints_3d = np.zeros((44, 4), np.float32)
    keypoints_3d[3] = (0, 3e38, 0, 1)
    assert not keypoints_3d_in_crop(keypoints_3d, augmentation(30, True)).any()


@given(
    person=st.integers(0, 5),
    epoch=st.integers(0, 3),
    number=st.integers(0, 50),
    drawn=st.lists(st.integers(0, 5), max_size=4),
)
def test_draws_depend_on_seed_epoch_identity_and_their_number_alone(
    person: int, epoch: int, number: int, drawn: list[int]
) -> None:
    config = AugmentConfig()
    first = draw(config, 7, epoch, an_id(person), number)
    for other in drawn:  # whoever was drawn in between
        draw(config, 7, epoch, an_id(other), number)
    assert draw(config, 7, epoch, an_id(person), number) == first
    assert draw(config, 8, epoch, an_id(person), number) != first
    assert draw(config, 7, epoch + 1, an_id(person), number) != first
    assert draw(config, 7, epoch, an_id(person), number + 1) != first
    assert draw(config, 7, epoch, an_id(person)._replace(shard="000001"), number) != first


def test_draws_have_the_stated_distribution() -> None:
    drawn = [draw(AugmentConfig(), 0, 0, an_id(i), 0) for i in range(4000)]
    scale = np.array([a.scale for a in drawn])
    rotation = np.array([a.rotation_deg for a in drawn])
    color = np.array([a.color_scale for a in drawn])
    shift = np.array([a.shift for a in drawn])
    assert 0.7 <= scale.min() < 0.71 < 1.29 < scale.max() <= 1.3
    assert np.abs(rotation).max() == 60
    assert np.mean(rotation != 0) == pytest.approx(0.6, abs=0.03)
    # sd of a normal clipped at +-1: 0.718
    assert scale.std() == pytest.approx(0.3 * 0.718, rel=0.03)
    assert shift.std() == pytest.approx(0.02 * 0.718, rel=0.03)
    assert 0.8 <= color.min() < 0.81 < 1.19 < color.max() <= 1.2
    assert abs(np.corrcoef(color.T)[0, 1]) < 0.05
    assert np.mean([a.flip for a in drawn]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([a.extreme is not None for a in drawn]) == pytest.approx(0.1, abs=0.02)


@given(seed=st.integers(0, 2**32 - 1), drawn=st.floats(0, 1, exclude_max=True), seen=st.integers(0, 44))
def test_an_extreme_crop_is_a_square_of_some_size(seed: int, drawn: float, seen: int) -> None:
    rng = np.random.default_rng(seed)
    keypoints = np.column_stack([rng.uniform(-1e4, 1e4, (44, 2)), rng.uniform(0.1, 1, 44)])
    keypoints[rng.permutation(44)[seen:]] = 0
    out = extreme_crop(keypoints, Box(np.zeros(2), np.array([30.0, 40.0])), drawn)
    assert out.size[0] == out.size[1] >= 4
    assert np.isfinite(out.center).all()


@given(demand=st.floats(0.01, 10))
def test_reduced_pictures_still_have_a_pixel_for_each_of_the_crop(demand: float) -> None:
    factor = dct_factor([demand / 2, demand])
    assert factor in (1, 2, 4, 8)
    assert factor == 1 or factor * demand <= 1
    assert factor == 8 or 2 * factor * demand > 1


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(640, 400), (637, 403)])
def test_a_reduced_picture_gives_the_same_crop(factor: int, size: tuple[int, int]) -> None:
    """A smooth ramp: no half-pixel shift between the reductions, also where the size is no multiple of 8."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ramp = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1).astype(np.uint8)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(ramp), quality=98, colorsubsampling="444")
    crop = crop_transform(np.array([320.0, 200.0]), 256.0, scale=1.2, rotation_deg=20)
    picture = decode_photo(jpeg, size, factor)
    assert picture.pixels.shape == (math.ceil(height / factor), math.ceil(width / factor), 3)
    whole = cut_patch(Picture(ramp, 1), crop).astype(int)
    difference = (cut_patch(picture, crop) - whole)[:, 30:-30, 30:-30]
    assert np.abs(difference.mean((1, 2))).max() < 0.35
    assert np.abs(difference).max() <= 5


def test_outside_of_the_photo_is_black_and_the_middle_is_the_photo() -> None:
    white = Picture(np.full((50, 40, 3), 255, np.uint8), 1)
    patch = cut_patch(white, crop_transform(np.array([19.5, 24.5]), 100.0))
    assert patch.shape == (3, CROP_PX, CROP_PX)
    scale = CROP_PX / 100
    assert (patch[:, 128, 128] == 255).all()
    inside = (patch == 255).all(0)
    assert inside.any(1).sum() == pytest.approx(49 * scale, abs=2)
    assert inside.any(0).sum() == pytest.approx(39 * scale, abs=2)
    assert (patch[:, :50] == 0).all()
    far = cut_patch(white, crop_transform(np.array([1e7, -1e7]), 100.0))
    assert not far.any()


def test_plain_patches_decode_once_and_agree_with_one_by_one() -> None:
    jpeg = photo_bytes(1, 640, 480)
    people = tuple(
        Person(
            id=an_id(i),
            keypoints_2d=np.zeros((44, 3), np.float32),
            keypoints_3d=np.zeros((44, 4), np.float32),
            center=np.array([200.0 + 100 * i, 240.0], np.float32),
            side=600.0,
            smpl=None,
        )
        for i in range(3)
    )
    photo = Photo(key="a", jpeg=jpeg, width=640, height=480, people=people)
    patches = plain_patches(photo, people)
    assert (patches.shape, patches.dtype) == ((3, 3, 256, 256), np.uint8)
    for person, patch in zip(people, patches, strict=True):
        np.testing.assert_array_equal(plain_patches(photo, [person])[0], patch)
    assert plain_patches(photo, []).shape == (0, 3, 256, 256)
    with pytest.raises(DamagedPhotoError):
        decode_photo(jpeg[: len(jpeg) // 2], (640, 480), 2)
