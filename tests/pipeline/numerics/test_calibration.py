"""Measures of calibration: made errors that follow their standard deviations, and some that do not."""

import numpy as np
import pytest

from pipeline.numerics.calibration import (
    area_between_sparsifications,
    coverage,
    error_by_bin,
    gaussian_nll,
    mean_square_z,
    rank_correlation,
    sparsification,
)
from tests.shape_checks import shapes_unchecked

N, D = 40_000, 3


@pytest.fixture(scope="module")
def std() -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(-1, 0.7, (N, D)))


@pytest.fixture(scope="module")
def error(std: np.ndarray) -> np.ndarray:
    return std * np.random.default_rng(1).standard_normal((N, D))


def test_calibrated_errors(error: np.ndarray, std: np.ndarray) -> None:
    np.testing.assert_allclose(mean_square_z(error, std), 1, atol=0.03)
    for level in (0.5, 0.9):
        np.testing.assert_allclose(coverage(error, std, level), level, atol=0.01)
    bins = error_by_bin(error, std)
    np.testing.assert_allclose(bins.observed, bins.expected, rtol=0.06)
    assert (np.diff(bins.expected, axis=0) > 0).all()


def test_overconfidence_shows(error: np.ndarray, std: np.ndarray) -> None:
    np.testing.assert_allclose(mean_square_z(error, std / 2), 4, atol=0.1)
    assert (coverage(error, std / 2) < 0.62).all()
    bins = error_by_bin(error, std / 2)
    np.testing.assert_allclose(bins.observed, 2 * bins.expected, rtol=0.06)


def test_true_standard_deviations_score_best(error: np.ndarray, std: np.ndarray) -> None:
    best = gaussian_nll(error, std)
    one_for_all = np.broadcast_to(np.sqrt(np.square(error).mean(0)), error.shape)
    for other in (std * 1.3, std / 1.3, one_for_all):
        assert (gaussian_nll(error, other) > best + 0.02).all()


def test_log_density_of_a_standard_normal() -> None:
    np.testing.assert_allclose(gaussian_nll(np.zeros((2, 1)), np.ones((2, 1))), 0.9189385, rtol=1e-6)


def test_ranks(error: np.ndarray, std: np.ndarray) -> None:
    assert (rank_correlation(error, std) > 0.3).all()
    np.testing.assert_allclose(rank_correlation(error, np.abs(error) + 1e-9), 1)
    np.testing.assert_allclose(rank_correlation(error, std[::-1]), 0, atol=0.02)
    assert np.isnan(rank_correlation(error, np.ones_like(error))).all()


def test_leaving_out_the_unsure(error: np.ndarray, std: np.ndarray) -> None:
    curve, best = sparsification(error, std), sparsification(error, np.abs(error) + 1e-9)
    np.testing.assert_allclose(curve[0], np.abs(error).mean(0))
    assert (np.diff(curve, axis=0) < 0).all()
    assert (best[1:] < curve[1:]).all()
    np.testing.assert_allclose(sparsification(error, std[::-1])[5], np.abs(error).mean(0), rtol=0.05)
    np.testing.assert_allclose(sparsification(error, std, [1.0])[0], np.abs(error[std.argmin(0), range(D)]))


def test_the_area_between_is_nothing_for_who_knows_the_errors(error: np.ndarray, std: np.ndarray) -> None:
    np.testing.assert_allclose(area_between_sparsifications(error, np.abs(error) + 1e-9), 0, atol=1e-12)
    blind = area_between_sparsifications(error, std[::-1])
    assert (area_between_sparsifications(error, std) < blind - 0.05).all()
    assert np.isnan(area_between_sparsifications(np.zeros((20, 1)), np.ones((20, 1)))).all()


@pytest.mark.parametrize(
    ("error", "std"),
    [
        (np.zeros((2, 3)), np.ones((3, 2))),
        (np.zeros((0, 3)), np.ones((0, 3))),
        (np.full((2, 3), np.nan), np.ones((2, 3))),
        (np.zeros((2, 3)), np.zeros((2, 3))),
        (np.zeros((2, 3)), np.full((2, 3), np.inf)),
    ],
)
def test_refusals(error: np.ndarray, std: np.ndarray) -> None:
    with shapes_unchecked(), pytest.raises(ValueError, match=r"N, D|finite"):
        mean_square_z(error, std)


def test_too_few_for_the_bins() -> None:
    with pytest.raises(ValueError, match="bins"):
        error_by_bin(np.zeros((9, 1)), np.ones((9, 1)))
