"""Noise of a known size, with known offsets and outliers, is found again."""

import numpy as np
import pytest

from schemas.keypoints import FLIP_PERMUTATION
from tools.keypoint_noise.build import table
from tools.keypoint_noise.residuals import MIRROR, Residuals, explained, offset
from tools.keypoint_noise.statistics import point_noise, shares

MOMENTS, VIEWS, STD = 60, 4, 0.008
OFFSET = np.array([0.02, -0.05, 0.01])


@pytest.fixture
def made() -> Residuals:
    """Every view looks from another side, 3 m away; confidence 0.5, so that errors are sqrt(2) times as large."""
    rng = np.random.default_rng(0)
    moment, view, keypoint = (x.ravel() for x in np.mgrid[:MOMENTS, :VIEWS, :25])
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0][:2] * 2 / 3 for _ in range(VIEWS)]
    slope = np.stack(turns)[view]
    mirrored = keypoint > np.array(FLIP_PERMUTATION)[keypoint]
    offsets = np.where(mirrored[:, None], MIRROR * OFFSET, OFFSET)
    offsets = np.where((keypoint == np.array(FLIP_PERMUTATION)[keypoint])[:, None], OFFSET * (0, 1, 1), offsets)
    away = np.sqrt(2) * STD * rng.normal(size=(len(view), 2)) + np.einsum("nij,nj->ni", slope, offsets)
    return Residuals(keypoint, view, moment, away, np.full(len(view), 0.5), slope, np.full(len(view), 0.3))


def test_offsets_and_spread_are_found_again(made: Residuals) -> None:
    found = point_noise(made, 5)
    assert found is not None
    mirrored = made.rows(made.keypoint == 2)
    assert offset(mirrored, np.zeros(len(mirrored.keypoint), bool)) == pytest.approx(OFFSET, abs=0.005)
    assert found.offset == pytest.approx(MIRROR * OFFSET, abs=0.005)
    assert found.agreed > 0.3
    assert found.beside_offset == pytest.approx(STD, rel=0.1)
    middle = point_noise(made, 8)
    assert middle is not None
    assert middle.offset[0] == 0
    assert not explained(made, np.zeros((len(made.view), 3))).any()


def test_both_sides_get_mirrored_rows(made: Residuals) -> None:
    rows = {row["name"]: row for row in table(made)}
    assert rows["l_hip"]["offset"] == [-rows["r_hip"]["offset"][0], *rows["r_hip"]["offset"][1:]]
    assert rows["j19_r_hip"]["std"] == rows["r_hip"]["std"]
    assert rows["j19_head"]["points"] == 0


def test_outliers_and_swaps_are_counted_and_left_out(made: Residuals) -> None:
    away, to_twin = made.away.copy(), made.to_twin.copy()
    wrong = made.keypoint == 10
    wrong &= made.moment % 4 == 0
    away[wrong] += 0.3
    to_twin[wrong] = 0.01
    spoilt = Residuals(made.keypoint, made.view, made.moment, away, made.confidence, made.slope, to_twin)
    clean, found = point_noise(made, 13), point_noise(spoilt, 13)
    assert clean is not None
    assert found is not None
    assert found.std == pytest.approx(clean.std, rel=0.1)
    assert shares(spoilt)["gross"] - shares(made)["gross"] == pytest.approx(1 / 100, abs=1e-3)
    assert shares(spoilt)["swapped"] == pytest.approx(60 / (MOMENTS * VIEWS * 22), rel=0.1)
