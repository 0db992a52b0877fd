"""Does a stated standard deviation tell the truth? Measures over N people and D quantities, each column by itself.

error (N, D) is estimate minus truth, std (N, D) what was stated for it, both in the column's unit; angles are wrapped
by the caller. Every function raises ValueError for other shapes, no rows, errors that are not finite, and standard
deviations that are not positive and finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from scipy.stats import rankdata

PerPerson = Float[np.ndarray, "N D"]
PerColumn = Float[np.ndarray, "D"]

DECILES: Final = 10
LEFT_OUT: Final = tuple(x / 10 for x in range(10))  # shares of a sparsification curve


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorByBin:
    """Root mean squares of N / bins people at a time, the surest first: expected, of std; observed, of the error."""

    expected: Float[np.ndarray, "bins D"]
    observed: Float[np.ndarray, "bins D"]


def mean_square_z(error: PerPerson, std: PerPerson) -> PerColumn:
    """Mean of (error / std)^2 (D,): 1 when calibrated, more when std is too small. Its root is the factor to apply."""
    _check(error, std)
    return np.square(error / std).mean(0)


def coverage(error: PerPerson, std: PerPerson, level: float = 0.9) -> PerColumn:
    """Share of errors inside the central interval of a Gaussian that holds `level` (D,): `level` when calibrated."""
    _check(error, std)
    return (np.abs(error) <= ndtri((1 + level) / 2) * std).mean(0)


def gaussian_nll(error: PerPerson, std: PerPerson) -> PerColumn:
    """Mean negative log density (D,) in nats, log(std) + (error / std)^2 / 2 + log(2 pi) / 2: lower is better.

    A proper score (Gneiting & Raftery, JASA 2007): least in expectation for the true standard deviation.
    """
    _check(error, std)
    return (np.log(std) + np.square(error / std) / 2).mean(0) + np.log(2 * np.pi) / 2


def rank_correlation(error: PerPerson, std: PerPerson) -> PerColumn:
    """Spearman's correlation of std and |error| (D,); NaN where either is the same for everyone.

    Even true standard deviations stay well below 1: an error is one draw.
    """
    _check(error, std)
    ranks = [rankdata(x, axis=0) - (len(x) + 1) / 2 for x in (np.abs(error), std)]
    squares = np.square(ranks[0]).sum(0) * np.square(ranks[1]).sum(0)
    return np.where(squares > 0, (ranks[0] * ranks[1]).sum(0) / np.sqrt(np.where(squares > 0, squares, 1)), np.nan)


def error_by_bin(error: PerPerson, std: PerPerson, bins: int = DECILES) -> ErrorByBin:
    """Expected against observed error in bins of equally many people by std, deciles by default: equal when calibrated.

    Raises ValueError with fewer people than bins.
    """
    _check(error, std)
    if len(error) < bins:
        raise ValueError(f"{len(error)} people cannot fill {bins} bins")
    order = np.argsort(std, axis=0, kind="stable")
    parts = [np.array_split(np.take_along_axis(x, order, 0), bins) for x in (std, error)]
    expected, observed = (np.sqrt([np.square(part).mean(0) for part in x]) for x in parts)
    return ErrorByBin(expected=expected, observed=observed)


def sparsification(
    error: PerPerson, std: PerPerson, left_out: Sequence[float] = LEFT_OUT
) -> Float[np.ndarray, "shares D"]:
    """Mean |error| of those that remain when the share of the largest std is left out: falls where std tells.

    With std = |error| (a little above 0) it is the best curve there can be (Ilg et al., ECCV 2018).
    """
    _check(error, std)
    order = np.argsort(std, axis=0, kind="stable")
    sums = np.cumsum(np.take_along_axis(np.abs(error), order, 0), axis=0)
    kept = [max(1, round((1 - share) * len(error))) for share in left_out]
    return np.stack([sums[n - 1] / n for n in kept])


def area_between_sparsifications(error: PerPerson, std: PerPerson) -> PerColumn:
    """Mean distance (D,) of the curve to the best one there can be, over LEFT_OUT, as a share of the mean |error|:
    AUSE (Ilg et al., ECCV 2018), 0 when std ranks people as their errors do. NaN where nobody errs.
    """
    curve = sparsification(error, std)
    best = sparsification(error, np.abs(error) + np.finfo(np.float64).tiny)
    return np.where(best[0] > 0, (curve - best).mean(0) / np.where(best[0] > 0, best[0], 1), np.nan)


def _check(error: PerPerson, std: PerPerson) -> None:
    if error.ndim != 2 or error.shape != std.shape or not len(error):
        raise ValueError(f"error {error.shape} and std {std.shape} must both be (N, D), with N at least 1")
    if not np.isfinite(error).all():
        raise ValueError("an error is not finite")
    if not (np.isfinite(std) & (std > 0)).all():
        raise ValueError("a standard deviation is not positive and finite")
