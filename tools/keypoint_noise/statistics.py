"""From residuals to the numbers of the file: spread and offset a keypoint, outliers, swaps, what neighbours share."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from schemas.keypoints import FLIP_PERMUTATION, LIMBS
from tools.keypoint_noise.residuals import GROSS, POINTS, Residuals, explained, offset

AGREED: Final = 0.3  # of the squared residuals of a view that an offset from the other views has to explain
_LEAST = 20  # detections


@dataclass(frozen=True)
class PointNoise:
    """Of one keypoint and its mirror image together: detections; std and beside_offset, crop units, of a coordinate
    at confidence 1; offset (3,) m; agreed: share of a view's squared residuals that the others' offset explains.
    """

    points: int
    std: float
    offset: np.ndarray
    agreed: float
    beside_offset: float


def point_noise(of: Residuals, keypoint: int) -> PointNoise | None:
    """None where too few were seen."""
    twin = FLIP_PERMUTATION[keypoint]
    own = of.rows((of.distance < GROSS) & np.isin(of.keypoint, [keypoint, twin]))
    if len(own.keypoint) < _LEAST:
        return None
    mirrored = own.keypoint != keypoint
    agreed = _agreement(own, mirrored)
    found = offset(own, mirrored)
    if keypoint == twin:
        found[0] = 0.0  # the body is symmetric
    rest = own.away - explained(own, _each(found, mirrored))
    kept = agreed >= AGREED
    std, beside = _std(own, own.away), _std(own, rest)
    return PointNoise(len(own.keypoint), std, found if kept else 0 * found, agreed, beside if kept else std)


def _each(one: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    return np.where(mirrored[:, None], [-1.0, 1.0, 1.0] * one, one)


def _std(of: Residuals, away: np.ndarray) -> float:
    """Errors grow as confidence falls: by its root, as the fit weights them."""
    return float(np.sqrt((of.confidence[:, None] * away**2).mean()))


def _agreement(of: Residuals, mirrored: np.ndarray) -> float:
    left = np.zeros_like(of.away)
    for view in np.unique(of.view):
        own = of.view == view
        theirs = offset(of.rows(~own), mirrored[~own])
        left[own] = of.away[own] - explained(of.rows(own), _each(theirs, mirrored[own]))
    return float(1 - (left**2).sum() / (of.away**2).sum())


def crop_agreement(of: Residuals) -> float:
    """The same for one offset a keypoint in the crop, with no regard for where the body faces; over all keypoints."""
    inliers, left = of.rows(of.distance < GROSS), 0.0
    for view in np.unique(inliers.view):
        own = inliers.view == view
        means = [inliers.away[~own & (inliers.keypoint == k)] for k in range(POINTS)]
        bias = np.array([x.mean(0) if len(x) else np.zeros(2) for x in means])
        left += ((inliers.away[own] - bias[inliers.keypoint[own]]) ** 2).sum()
    return float(1 - left / (inliers.away**2).sum())


def body_agreement(of: Residuals) -> float:
    """`crop_agreement` for one offset a keypoint in the trunk's frame."""
    inliers, left = of.rows(of.distance < GROSS), 0.0
    for k in range(POINTS):
        own = inliers.rows(inliers.keypoint == k)
        if len(own.keypoint):
            left += (1 - _agreement(own, np.zeros(len(own.keypoint), bool))) * (own.away**2).sum()
    return float(1 - left / (inliers.away**2).sum())


def shares(of: Residuals) -> dict[str, float]:
    """Of all detections: gross ones, and those nearer to the point of the other side; moved_per_frame: the part of the
    std that a detection moves by from one moment to the next; what neighbours on the body share, as a correlation.
    """
    sided = np.array([FLIP_PERMUTATION[k] != k for k in of.keypoint])
    swapped = sided & (of.distance > GROSS) & (of.to_twin < of.distance / 2)
    grid = _grid(of)
    steps = np.diff(grid, axis=0)
    return {
        "gross": float((of.distance > GROSS).mean()),
        "swapped": float(swapped.sum() / sided.sum()),
        "moved_per_frame": float(np.sqrt(np.nanmedian(steps**2) / 2 / np.nanmedian(grid**2))),
        "correlation_of_neighbours": float(np.mean([_correlation(grid[:, :, a], grid[:, :, b]) for a, b in LIMBS])),
    }


def by_confidence(of: Residuals, edges: tuple[float, ...]) -> dict[str, float]:
    """RMS of a coordinate, crop units, between the edges; gross ones left out."""
    inliers = of.rows(of.distance < GROSS)
    parts = {}
    for low, high in pairwise(edges):
        chosen = (inliers.confidence >= low) & (inliers.confidence < high)
        if chosen.sum() >= _LEAST:
            parts[f"{low:g} to {high:g}"] = float(np.sqrt((inliers.away[chosen] ** 2).mean()))
    return parts


def _grid(of: Residuals) -> np.ndarray:
    """(T, V, 25, 2) crop units, NaN where absent or gross."""
    grid = np.full((of.moment.max() + 1, of.view.max() + 1, POINTS, 2), np.nan)
    own = of.rows(of.distance < GROSS)
    grid[own.moment, own.view, own.keypoint] = own.away
    return grid


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a * b)
    return float((a[known] * b[known]).mean() / np.sqrt((a[known] ** 2).mean() * (b[known] ** 2).mean()))
