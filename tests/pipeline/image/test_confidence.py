"""What the confidence of a keypoint counts."""

import numpy as np
import torch

from pipeline.image.confidence import counted_confidence, counted_points

WRITTEN = [0.0, 0.1, 0.29, 0.3, 0.7, 1.0, 1.5, 5000.0, -1.0, -0.4, float("nan"), float("inf"), -float("inf")]
COUNTED = [0.0, 0.0, 0.0, 0.3, 0.7, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_absent_below_the_least_and_never_more_than_one() -> None:
    for dtype in (torch.float32, torch.float64):
        expected = torch.tensor(COUNTED, dtype=dtype)
        torch.testing.assert_close(counted_confidence(torch.tensor(WRITTEN, dtype=dtype)), expected, rtol=0, atol=0)


def test_points_keep_their_places() -> None:
    points = np.random.default_rng(0).normal(size=(44, 3)).astype(np.float32)
    points[:, 2] = np.resize(WRITTEN, 44)
    before = points.copy()
    out = counted_points(points)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(out[:, :2], points[:, :2])
    np.testing.assert_array_equal(out[:, 2], np.resize(np.array(COUNTED, np.float32), 44))
