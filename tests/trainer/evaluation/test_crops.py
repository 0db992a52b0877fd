"""Crops as HMR2.0 and HSMR evaluate on them."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.shards.jpeg import BadPhotoError
from schemas.person import RejectionReason
from trainer.data.decode import Picture
from trainer.data.patch import crop_transform, cut_patch
from trainer.evaluation.crops import crop_sides, cut_crop, read_photo


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("box", "side"),
    [((192, 256), 256), ((100, 100), 100 * 4 / 3), ((400, 200), 400 * 4 / 3), ((100, 300), 300), ((90, 119), 120)],
)
def test_boxes_are_widened_to_192_by_256(box: tuple[int, int], side: float) -> None:
    assert crop_sides(np.array([box], float)).tolist() == pytest.approx([side])


def test_golden_evaluation_boxes(golden_dir: Path) -> None:
    """The two cases of tests/golden/crops.npz whose bbox_shape is 192:256."""
    with np.load(golden_dir / "crops.npz", allow_pickle=False) as golden:
        cases = (golden["bbox_shape"] == (192, 256)).all(1)
        sides = crop_sides(200 * golden["scale"][cases].astype(np.float64))
        np.testing.assert_allclose(sides, golden["bbox_size_used"][cases], rtol=1e-6)
        assert cases.sum() == 2


def test_warp_is_the_crop_of_training_at_full_resolution() -> None:
    photo, center = smooth(300, 400), np.array([200.3, 140.8])
    expected = cut_patch(Picture(photo, 1), crop_transform(center, 250.0))
    np.testing.assert_array_equal(cut_crop(photo, center, 250.0, "warp"), expected)


def resized(window: np.ndarray) -> np.ndarray:
    """What bilinear resizing to 256 px is, said plainly: no blur, pixels counted from their middles, edges repeated."""
    lines = []
    for length in window.shape[:2]:
        place = np.clip((np.arange(256) + 0.5) * length / 256 - 0.5, 0, length - 1)
        low = np.minimum(place.astype(int), max(length - 2, 0))
        lines.append((low, np.minimum(low + 1, length - 1), place - low))
    (y0, y1, v), (x0, x1, u) = lines
    image, v, u = window.astype(float), v[:, None, None], u[None, :, None]
    upper = image[y0][:, x0] * (1 - u) + image[y0][:, x1] * u
    return upper * (1 - v) + (image[y1][:, x0] * (1 - u) + image[y1][:, x1] * u) * v


@given(st.floats(-40, 240), st.floats(-40, 200), st.floats(5, 400))
def test_resize_cuts_the_fractions_of_corners_off(x: float, y: float, side: float) -> None:
    photo = smooth(160, 200, 3)
    left, top, right, bottom = (int(value) for value in (x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    padded = np.zeros((1200, 1200, 3), np.uint8)
    padded[400:560, 400:600] = photo
    expected = resized(padded[400 + top : 400 + bottom, 400 + left : 400 + right])
    patch = cut_crop(photo, np.array([x, y]), side, "resize").transpose(1, 2, 0)
    assert np.abs(patch - expected).max() <= 0.5 + 1e-3


def test_truncation_is_towards_zero_and_not_down() -> None:
    """int(-10.5) is -10: the window begins one pixel later than that of a floor."""
    photo = np.full((50, 50, 3), 200, np.uint8)
    patch = cut_crop(photo, np.array([9.5, 9.5]), 40.0, "resize")[0]
    black = int((patch[128] < 100).sum())
    assert black == round(10 * 256 / 39)  # corners -10 and 29


def saved(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name


def packed(image: np.ndarray, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, format, **options)
    return out.getvalue()


def test_exif_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = packed(smooth(60, 90), "JPEG", exif=exif, quality=95)
    assert read_photo(tmp_path, saved(tmp_path, "a.jpg", data)).shape == (60, 90, 3)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif()[0x0112] == 6
    png = packed(smooth(60, 90), "PNG", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path, saved(tmp_path, "a.png", png)), smooth(60, 90))


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "", "x/../../a.jpg", "a\n.jpg"])
def test_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadPhotoError) as refused:
        read_photo(tmp_path, name)
    assert refused.value.reason is RejectionReason.UNSAFE_NAME


def test_what_is_no_photo_is_refused_with_the_reason(tmp_path: Path) -> None:
    whole = packed(smooth(60, 90), "JPEG")
    cases = {
        "none.jpg": (None, RejectionReason.MISSING_PHOTO),
        "cut.jpg": (whole[: len(whole) // 2], RejectionReason.UNDECODABLE_PHOTO),
        "header.jpg": (b"\xff\xd8\xff", RejectionReason.UNDECODABLE_PHOTO),
        "text.png": (b"no image", RejectionReason.UNDECODABLE_PHOTO),
        "empty.jpg": (b"", RejectionReason.UNDECODABLE_PHOTO),
    }
    for name, (data, reason) in cases.items():
        if data is not None:
            saved(tmp_path, name, data)
        with pytest.raises(BadPhotoError) as refused:
            read_photo(tmp_path, name)
        assert refused.value.reason is reason, name
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(BadPhotoError) as refused:
        read_photo(tmp_path, "folder.jpg")
    assert refused.value.reason is RejectionReason.UNDECODABLE_PHOTO
