"""Overlays keep the photo where the body is not, and compositions hold every panel."""

import numpy as np
import pytest

from pipeline.render import Panel, PinholeCamera, crop_square, draw_keypoints, grid, overlay_mesh

CAMERA = PinholeCamera(focal=60.0, center_x=31.5, center_y=23.5, width=64, height=48)
SQUARE = np.array([[-0.5, -0.5, 3.0], [0.5, -0.5, 3.0], [0.5, 0.5, 3.0], [-0.5, 0.5, 3.0]])
FACES = np.array([[0, 2, 1], [0, 3, 2]])


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_overlay_changes_only_where_the_mesh_is() -> None:
    drawn = overlay_mesh(photo(), SQUARE, FACES, CAMERA, alpha=0.5)
    changed = (drawn != photo()).any(axis=2)
    assert changed[20:28, 28:36].mean() > 0.9
    assert not changed[:10].any()
    assert not changed[:, :18].any()


def test_transparent_overlay_is_the_photo() -> None:
    np.testing.assert_array_equal(overlay_mesh(photo(), SQUARE, FACES, CAMERA, alpha=0.0), photo())


def test_weak_and_broken_keypoints_are_not_drawn() -> None:
    keypoints = np.zeros((44, 3), np.float32)
    keypoints[0] = (10, 10, 0.9)
    keypoints[1] = (30, 30, 0.1)
    keypoints[2] = (np.nan, 5, 0.9)
    changed = (draw_keypoints(photo(), keypoints) != photo()).any(axis=2)
    assert changed[10, 10]
    assert not changed[25:, 25:].any()


def test_crop_square_copies_pixels_and_is_black_outside() -> None:
    picture = photo()
    # The square with edges at pixel coordinates -0.5 and 15.5 is exactly the first 16 columns and rows.
    np.testing.assert_array_equal(crop_square(picture, np.array([7.5, 7.5]), 16.0, 16), picture[:16, :16])
    assert (crop_square(picture, np.array([-40.0, -40.0]), 16.0, 16) == 0).all()


def test_grid_holds_all_rows_and_captions() -> None:
    panels = [Panel(image=photo(), caption="before: 12.1 px"), Panel(image=photo(), caption="after\nsecond line")]
    row = grid([panels], height=96)
    sheet = grid([panels, panels[:1]], height=96, title="Two people")
    assert row.shape[1] > 2 * 128
    assert row.shape[0] > 96
    assert sheet.shape[0] > 2 * row.shape[0] - 40
    assert (row[: row.shape[0] - 100] < 128).any(), "the captions have ink"


def test_empty_composition_is_refused() -> None:
    with pytest.raises(ValueError, match="no panels"):
        grid([])
