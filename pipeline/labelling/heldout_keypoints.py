"""How well a fit foretells keypoints that it has not seen, on a few people, the same in every round.

Whether they lie where it expects them as often as it says is calibration that needs no truth (docs/calibration.md). The
error on the fitted keypoints falls the closer a fit follows their noise; that on hidden ones falls only as the body
comes nearer to the person (docs/objectives.md#the-held-out-error).
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt64
from numpy.typing import NDArray
from torch import Tensor

from pipeline.image.keypoint_error import enough_keypoints, kp2d_error, usable_confidence
from pipeline.labelling.batches import PersonBatch
from pipeline.labelling.convert import as_numpy
from pipeline.labelling.foretold import Foretold
from schemas.keypoints import KEYPOINT_NAMES, N_KEYPOINTS, TWINS
from schemas.person import PersonId

SAMPLED_SHARE: Final = 0.05  # of the people
HIDDEN_SHARE: Final = 0.125  # of a person's detections
FEWEST_HIDDEN: Final = 3  # detections
LEVELS: Final = (0.5, 0.9)

_DETECTION: Final = np.array([TWINS.get(point, point) for point in range(N_KEYPOINTS)])
"""The BODY_25 point whose twin a J19 point may be: seeing one is as good as seeing the other."""

_NEVER_HIDDEN: Final = [KEYPOINT_NAMES.index(name) for name in ("neck", "mid_hip", "j19_thorax")]
"""Data sets compute these from the shoulders and hips, so they would be no surprise; 3D points hang on the pelvis."""

_NOT_DRAWN: Final = np.uint64(2**64 - 1)

Foretell = Callable[[PersonBatch, Int64[np.ndarray, "M"]], Foretold]
"""Fits M people, given as they are to be seen and by their rows among all people, and says where their keypoints are.
"""


class HeldOut(NamedTuple):
    """By person: kp2d error on the hidden keypoints, crop units, and which shares of them lie in the regions that
    should hold 50 and 90 % of them. NaN for who is not in the sample, or has too few keypoints to spare some.
    """

    error: Float64[np.ndarray, "N"]
    in_50: Float64[np.ndarray, "N"]
    in_90: Float64[np.ndarray, "N"]


def held_out(batch: PersonBatch, foretell: Foretell) -> HeldOut:
    """How well keypoints are foretold by a fit which sees all other evidence of the sampled people.

    `foretell` holds them to what the round does; it is not called where there is nobody to fit.
    """
    found = HeldOut(*(np.full(len(batch), np.nan) for _ in HeldOut._fields))
    rows = np.flatnonzero(in_sample(batch.ids))
    hidden = hidden_keypoints(batch.take(rows).ids, batch.keypoints[rows])
    rows, hidden = rows[hidden.any(1)], hidden[hidden.any(1)]
    if len(rows):
        people = batch.take(rows)
        told = foretell(without(people, hidden), rows)
        shown = np.where(hidden[..., None], people.keypoints, np.float32(0))
        for column, values in zip(found, _judged(told, torch.as_tensor(shown).to(told.places)), strict=True):
            column[rows] = as_numpy(values)
    return found


def _judged(told: Foretold, hidden: Float[Tensor, "M 44 3"]) -> tuple[Float[Tensor, "M"], ...]:
    """Of the keypoints whose confidence is not 0: see HeldOut."""
    squared = told.squared_distance(hidden)
    there = torch.isfinite(squared)
    inside = [(there & (squared <= -2 * math.log(1 - level))).sum(1) / there.sum(1) for level in LEVELS]
    return kp2d_error(told.places, hidden), *inside


def in_sample(ids: Sequence[PersonId]) -> Bool[np.ndarray, "N"]:
    """Which people the hidden keypoints are tried on: one in twenty, by their identity alone."""
    return _drawn("heldout sample", ids, 1)[:, 0] < np.uint64(SAMPLED_SHARE * 2**64)


def hidden_keypoints(ids: Sequence[PersonId], keypoints: Float32[np.ndarray, "N 44 3"]) -> Bool[np.ndarray, "N 44"]:
    """Which points (N, 44) of these people to hide: an eighth of what was detected, at least three detections.

    Drawn by identity: the same in every round. A point of the second layout is hidden with its twin, one detection.
    All false for people whose other keypoints would be too few to fit.
    """
    usable = as_numpy(usable_confidence(torch.as_tensor(keypoints))) > 0
    copies, originals = list(TWINS), list(TWINS.values())
    detected = usable.copy()
    detected[:, originals] |= usable[:, copies]
    detected[:, copies] = False
    order = _drawn("heldout keypoints", ids, N_KEYPOINTS)
    order = np.where(detected, order, _NOT_DRAWN)
    order[:, _NEVER_HIDDEN] = _NOT_DRAWN
    rank = order.argsort(1, kind="stable").argsort(1, kind="stable")
    number = np.maximum(np.rint(HIDDEN_SHARE * detected.sum(1)), FEWEST_HIDDEN)
    hidden = ((rank < number[:, None]) & (order < _NOT_DRAWN))[:, _DETECTION]
    left = np.where(hidden[..., None], np.float32(0), keypoints)
    return hidden & as_numpy(enough_keypoints(torch.as_tensor(left)))[:, None]


def without(batch: PersonBatch, hidden: Bool[np.ndarray, "N 44"]) -> PersonBatch:
    """The people with the hidden points gone, in 2D and in 3D: their confidence is 0."""
    keypoints, keypoints_3d = batch.keypoints.copy(), batch.keypoints_3d.copy()
    keypoints[hidden, -1] = keypoints_3d[hidden, -1] = 0
    return replace(batch, keypoints=keypoints, keypoints_3d=keypoints_3d)


def _drawn(purpose: str, ids: Sequence[PersonId], count: int) -> UInt64[np.ndarray, "N {count}"]:
    """Even random numbers that hang on purpose and identity alone."""
    names = ("\x1f".join((purpose, *map(str, person))).encode() for person in ids)
    digests = [hashlib.shake_128(name).digest(8 * count) for name in names]
    numbers: NDArray[np.uint64] = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    return numbers.reshape(len(ids), count)
