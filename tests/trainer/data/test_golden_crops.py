"""tests/golden/crops.npz: the crops, keypoints and poses of the original code under prescribed augmentations."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.keypoints import FLIP_PERMUTATION
from trainer.data.augmentation import Augmentation, augmented_crop
from trainer.data.collate import keypoints_3d_in_crop, keypoints_in_crop
from trainer.data.decode import Picture
from trainer.data.extreme_crop import EXTREME_CROPS, Box, is_upper_body, is_whole_body
from trainer.data.patch import CropTransform, cut_patch
from trainer.data.skel_labels import q_in_crop

Golden = Mapping[str, NDArray]


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    with np.load(golden_dir / "crops.npz", allow_pickle=False) as file:
        return dict(file)


def augmentation(golden: Golden, case: int) -> Augmentation:
    drawn = float(golden["extreme_p"][case])
    return Augmentation(
        scale=float(golden["bbox_scale"][case]),
        rotation_deg=float(golden["rot_deg"][case]),
        shift=(float(golden["tx_ratio"][case]), float(golden["ty_ratio"][case])),
        color_scale=tuple(golden["color_scale"][case].tolist()),
        flip=bool(golden["do_flip"][case]),
        extreme=None if drawn < 0 else drawn,
    )


def side(golden: Golden, case: int) -> float:
    """max(200 scale); in the cases with a bbox_shape (evaluation boxes, not ours) the side that follows from it."""
    width, height = 200.0 * golden["scale"][case].astype(np.float64)
    shape = golden["bbox_shape"][case]
    if not shape.any():
        return max(width, height)
    return max(width, height, width * shape[1] / shape[0], height * shape[0] / shape[1])


def crop(golden: Golden, case: int) -> CropTransform:
    return augmented_crop(
        augmentation(golden, case), golden["kp2d_in"][case], golden["center"][case], side(golden, case)
    )


CASES = range(14)


@pytest.mark.parametrize("case", CASES)
def test_transform(golden: Golden, case: int) -> None:
    """Theirs goes from the mirrored photo to patch px."""
    matrix = crop(golden, case).matrix * 256
    matrix[:, 2] += 128
    if golden["do_flip"][case]:
        last = golden["image"].shape[1] - 1
        matrix[:, 2] += matrix[:, 0] * last
        matrix[:, 0] *= -1
    np.testing.assert_allclose(matrix, golden["transform"][case], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_keypoints_2d(golden: Golden, case: int) -> None:
    out = keypoints_in_crop(golden["kp2d_in"][case], crop(golden, case))
    np.testing.assert_allclose(out, golden["kp2d_out"][case], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_keypoints_3d(golden: Golden, case: int) -> None:
    out = keypoints_3d_in_crop(golden["kp3d_in"][case], augmentation(golden, case))
    expected, tolerance = golden["kp3d_out_centred"][case], 2e-4 if golden["do_flip"][case] else 1e-6
    np.testing.assert_allclose(out[:, :3] - out[39, :3], expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(out[:, 3], golden["kp3d_out"][case][:, 3])


def test_q(golden: Golden) -> None:
    flip, rotation = golden["do_flip"].astype(bool), np.deg2rad(golden["rot_deg"].astype(np.float64))
    out = q_in_crop(golden["q_orig"], flip, rotation)
    np.testing.assert_allclose(out, golden["q_out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", range(3))
def test_patch(golden: Golden, number: int) -> None:
    case = int(golden["patch_cases"][number])
    patch = cut_patch(Picture(golden["image"], 1), crop(golden, case)).transpose(1, 2, 0)
    difference = np.abs(patch.astype(int) - golden["patches"][number])
    assert difference.max() <= 8
    assert difference.mean() < 1


def test_flip_permutation(golden: Golden) -> None:
    np.testing.assert_array_equal(golden["flip_permutation"], FLIP_PERMUTATION)


def test_extreme_boxes(golden: Golden) -> None:
    """All nine crops of all six people."""
    x, y, width, height = golden["extreme_box_in"].astype(np.float64)
    box = Box(np.array([x, y]), np.array([width, height]))
    for person, keypoints in enumerate(golden["extreme_kp2d"]):
        for number, (name, part) in enumerate(EXTREME_CROPS.items()):
            out = part(keypoints, box)
            expected = golden["extreme_box_out"][person, number]
            np.testing.assert_allclose([*out.center, *out.size], expected, atol=1e-4, err_msg=f"{person} {name}")


def test_what_is_seen_of_a_person(golden: Golden) -> None:
    seen = golden["extreme_kp2d"][..., 2] > 0
    assert [is_whole_body(s) for s in seen] == golden["extreme_full_body"].astype(bool).tolist()
    assert [is_upper_body(s) for s in seen] == golden["extreme_upper_body"].astype(bool).tolist()
