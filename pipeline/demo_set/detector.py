"""A made-up keypoint detector: what an annotation tool would report for people whose true keypoints are known.

Errors grow with a person's difficulty and behind the body, twins of the two keypoint layouts share theirs, points drop
out one by one and limb by limb, a few are plainly wrong, sometimes left and right are swapped; the confidence knows of
this, but not exactly.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_noise import as_detectors_mean_them, keypoint_noise
from schemas.keypoints import FLIP_PERMUTATION, N_KEYPOINTS, TWINS

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RUNS: Final[tuple[tuple[int, ...], ...]] = (
    (3, 4, 31, 32), (6, 7, 35, 36), (10, 11, 22, 23, 24, 25, 26), (13, 14, 19, 20, 21, 29, 30),
    (0, 15, 16, 17, 18, 42, 43, 38), (19, 20, 21, 22, 23, 24),
)  # fmt: skip
"""Points that an obstacle hides together: forearms, lower legs, face, feet."""

_ASSUMED_PX: Final = np.array(
    [1.0, 1.6, 1.6, 1.5, 1.5, 1.6, 1.5, 1.5, 2.2, 2.4, 1.7, 1.5, 2.4, 1.7, 1.5, 0.8, 0.8, 1.2, 1.2, 1.5, 1.7, 1.6, 1.5,
     1.7, 1.6, 1.6, 1.8, 2.6, 2.6, 1.8, 1.6, 1.6, 1.6, 1.8, 1.8, 1.6, 1.6, 2.4, 2.2, 2.4, 2.2, 2.6, 2.0, 2.0]
)  # fmt: skip
_DIFFICULTY, _HIDDEN_FACTOR = 0.35, 2.2


@dataclass(frozen=True)
class DetectorErrors:
    """sigma_px (44,): standard deviation of an easy, visible point, px of the 256 px crop; copies: a J19 point is the
    copy of its BODY_25 twin, as data sets fill the layout, or a second look at the same place; offsets: points stand
    where detectors mean them, not where the body has its own.
    """

    sigma_px: Float[np.ndarray, "44"]
    copies: bool
    offsets: bool


def assumed_errors() -> DetectorErrors:
    """What was thought likely before any were measured."""
    return DetectorErrors(_ASSUMED_PX, copies=False, offsets=False)


@cache
def measured_errors() -> DetectorErrors:
    """As docs/keypoint_noise.md has them, over people of every difficulty and with their hidden points; assumed for the
    points that nobody measured.
    """
    noise = keypoint_noise()
    at_usual_confidence = noise.beside_offset.numpy() * CROP_PX / np.sqrt(_USUAL_CONFIDENCE)
    over_people = np.exp(_DIFFICULTY**2) * np.sqrt(1 + _HIDDEN_SHARE * (_HIDDEN_FACTOR**2 - 1))
    sigma = np.where(noise.measured.numpy(), at_usual_confidence / over_people, _ASSUMED_PX)
    return DetectorErrors(sigma, copies=True, offsets=True)


_USUAL_CONFIDENCE, _HIDDEN_SHARE = 0.64, 0.15


def detect_keypoints(
    rng: np.random.Generator,
    true_crop: Float[np.ndarray, "44 2"],
    visible: Bool[np.ndarray, "44"],
    inside: Bool[np.ndarray, "44"],
    errors: DetectorErrors,
) -> tuple[Float[np.ndarray, "44 3"], Bool[np.ndarray, "44"]]:
    """(44, 3) crop units and confidence, absent points all zero, and which (44,) are present.

    true_crop (44, 2): `meant_places`, crop units; visible (44,): not hidden by a body; inside (44,): within the photo.
    """
    difficulty = float(np.exp(rng.normal(0.0, _DIFFICULTY)))
    sigma = errors.sigma_px * difficulty * np.where(visible, 1.0, _HIDDEN_FACTOR)
    error_px = _shared_by_twins(rng, rng.normal(0.0, 1.0, (N_KEYPOINTS, 2))) * sigma[:, None]
    points = true_crop + error_px / CROP_PX
    confidence = 1.0 - 0.06 * sigma - np.where(visible, 0.0, 0.12) + rng.normal(0.0, 0.07, N_KEYPOINTS)
    points, confidence = _misplace(rng, points, confidence)
    if errors.copies:
        points[list(TWINS)], confidence[list(TWINS)] = points[list(TWINS.values())], confidence[list(TWINS.values())]
    present = inside & ~_dropped(rng, visible)
    confidence = np.where(present, np.clip(confidence, 0.08, 0.99), 0.0)
    return np.column_stack([np.where(present[:, None], points, 0.0), confidence]), present


def meant_places(points: Float[np.ndarray, "B 44 3"], errors: DetectorErrors) -> Float[np.ndarray, "B 44 3"]:
    """Where a detector looks for the keypoints of bodies, m."""
    return as_detectors_mean_them(torch.as_tensor(points)).numpy() if errors.offsets else points


def detect_keypoints_3d(
    rng: np.random.Generator,
    true_points: Float[np.ndarray, "44 3"],
    points_2d: Float[np.ndarray, "44 3"],
    present: Bool[np.ndarray, "44"],
) -> Float[np.ndarray, "44 4"]:
    """(44, 4) m relative to mid hip, camera axes, and confidence; zero for people the detector has no depth for.

    Depth is the weak part: a wrong scale of it, a body tilted as a whole, and twice the noise.
    """
    if rng.random() < 0.2 or not present[[8, 9, 12]].all():
        return np.zeros((N_KEYPOINTS, 4))
    centred = true_points - true_points[8]
    tilt, depth_scale = rng.normal(0.0, 0.07), rng.normal(0.9, 0.1)
    y = np.cos(tilt) * centred[:, 1] - np.sin(tilt) * centred[:, 2]
    z = np.sin(tilt) * centred[:, 1] + np.cos(tilt) * centred[:, 2]
    noisy = np.column_stack([centred[:, 0], y, depth_scale * z])
    noisy += _shared_by_twins(rng, rng.normal(0.0, 1.0, (N_KEYPOINTS, 3))) * np.array([0.018, 0.018, 0.045])
    noisy[[8, 39]] = 0.0
    return np.column_stack([np.where(present[:, None], noisy, 0.0), points_2d[:, 2]])


def _shared_by_twins(rng: np.random.Generator, noise: Array) -> Array:
    """Unit noise in which a J19 point repeats most of the error of its BODY_25 twin."""
    for twin, original in TWINS.items():
        noise[twin] = 0.85 * noise[original] + np.sqrt(1 - 0.85**2) * rng.normal(0.0, 1.0, noise.shape[1])
    return noise


def _misplace(rng: np.random.Generator, points: Array, confidence: Array) -> tuple[Array, Array]:
    """About 2.5 % of the points land somewhere else on the person; one person in 40 gets legs or arms swapped."""
    wrong = rng.random(N_KEYPOINTS) < 0.025
    angle, distance = rng.uniform(0, 2 * np.pi, N_KEYPOINTS), rng.uniform(0.08, 0.35, N_KEYPOINTS)
    points = points + np.where(wrong, distance, 0.0)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    confidence = confidence - np.where(wrong, rng.uniform(0.0, 0.6, N_KEYPOINTS), 0.0)
    if rng.random() < 0.025:
        swapped = np.array(FLIP_PERMUTATION)
        limbs = [9, 10, 11, 12, 13, 14, *range(19, 31)] if rng.random() < 0.5 else [3, 4, 6, 7, 31, 32, 35, 36]
        keep = np.setdiff1d(np.arange(N_KEYPOINTS), limbs)
        swapped[keep] = keep
        points, confidence = points[swapped], confidence[swapped] - 0.1
    return points, confidence


def _dropped(rng: np.random.Generator, visible: BoolArray) -> BoolArray:
    """Points lost one by one (hidden ones more often), with the whole limb, or because the source lacks a layout."""
    dropped = rng.random(N_KEYPOINTS) < np.where(visible, 0.04, 0.18)
    for run in RUNS:
        if rng.random() < 0.04:
            dropped[list(run)] = True
    for twin, original in TWINS.items():
        dropped[twin] |= dropped[original]
    if rng.random() < 0.3:
        dropped[25:] = True
    return dropped
