"""How well a fit foretells keypoints that it has not seen, on a few people, the same in every round.

The error on the fitted keypoints falls the closer a fit follows their noise; that on hidden ones falls only as the body
comes nearer to the person (docs/objectives.md#the-held-out-error).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt64
from numpy.typing import NDArray
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.skelify import SkelifyResult
from pipeline.image.camera import project
from pipeline.image.keypoint_error import enough_keypoints, kp2d_error, usable_confidence
from pipeline.labelling.batches import PersonBatch
from pipeline.labelling.convert import as_model, as_numpy
from schemas.keypoints import KEYPOINT_NAMES, N_KEYPOINTS, TWINS
from schemas.person import PersonId

SAMPLED_SHARE: Final = 0.05  # of the people
HIDDEN_SHARE: Final = 0.125  # of a person's detections
FEWEST_HIDDEN: Final = 3  # detections

_DETECTION: Final = np.array([TWINS.get(point, point) for point in range(N_KEYPOINTS)])
"""The BODY_25 point whose twin a J19 point may be: seeing one is as good as seeing the other."""

_NEVER_HIDDEN: Final = [KEYPOINT_NAMES.index(name) for name in ("neck", "mid_hip", "j19_thorax")]
"""Data sets compute these from the shoulders and hips, so they would be no surprise; 3D points hang on the pelvis."""

_NOT_DRAWN: Final = np.uint64(2**64 - 1)

Fit = Callable[[PersonBatch, Int64[np.ndarray, "M"]], SkelifyResult]
"""Fits M people, given as they are to be seen and by their rows among all people."""


def heldout_errors(skel: Skel, batch: PersonBatch, fit: Fit) -> Float64[np.ndarray, "N"]:
    """kp2d error (N,), crop units, on keypoints hidden from `fit`, which sees all other evidence of the sampled people.

    NaN for who is not in the sample, or has too few keypoints to spare some. `fit` is the round's own: from the same
    start, held to the same anchor; it is not called where there is nobody to fit.
    """
    errors = np.full(len(batch), np.nan)
    rows = np.flatnonzero(in_sample(batch.ids))
    hidden = hidden_keypoints(batch.take(rows).ids, batch.keypoints[rows])
    rows, hidden = rows[hidden.any(1)], hidden[hidden.any(1)]
    if len(rows):
        people = batch.take(rows)
        found = fit(without(people, hidden), rows)
        focal, keypoints = as_model(skel, people.focal), as_model(skel, people.keypoints)
        mask = torch.as_tensor(hidden, device=keypoints.device)
        errors[rows] = as_numpy(heldout_error(skel, found.q, found.betas, found.cam_t, focal, keypoints, mask))
    return errors


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


def heldout_error(
    skel: Skel,
    q: Float[Tensor, "N 46"],
    betas: Float[Tensor, "N 10"],
    cam_t: Float[Tensor, "N 3"],
    focal: Float[Tensor, "N"],
    keypoints: Float[Tensor, "N 44 3"],
    hidden: Bool[Tensor, "N 44"],
) -> Float[Tensor, "N"]:
    """kp2d error (N,), crop units, over the hidden of these keypoints alone, under the camera of the fit that did not
    see them (cam_t m, focal crop units). NaN for a person without a hidden one, or whose fit is not finite.
    """
    confidence = torch.where(hidden, keypoints[..., -1], torch.zeros_like(keypoints[..., -1]))
    seen_now = torch.cat([keypoints[..., :-1], confidence[..., None]], -1)
    return kp2d_error(project(skel.keypoints(q, betas), cam_t, focal), seen_now)


def _drawn(purpose: str, ids: Sequence[PersonId], count: int) -> UInt64[np.ndarray, "N {count}"]:
    """Even random numbers that hang on purpose and identity alone."""
    names = ("\x1f".join((purpose, *map(str, person))).encode() for person in ids)
    digests = [hashlib.shake_128(name).digest(8 * count) for name in names]
    numbers: NDArray[np.uint64] = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    return numbers.reshape(len(ids), count)
