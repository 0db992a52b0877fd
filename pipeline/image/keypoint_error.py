"""The 2D error every label is judged by (docs/objectives.md)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.image.confidence import counted_confidence
from schemas.keypoints import MIN_CONFIDENT_BODY_POINTS, N_KEYPOINTS, SCORED

_BODY_POINTS = 25


def usable_confidence(keypoints: Float[Tensor, "B 44 D"]) -> Float[Tensor, "B 44"]:
    """Confidence (B, 44) as it counts, 0 also where a place is not finite, and at the unscored 37, 38.

    keypoints: 2D or 3D, the confidence last.
    """
    confidence = counted_confidence(keypoints[..., -1])
    usable = torch.isfinite(keypoints).all(-1)
    scored = torch.zeros(N_KEYPOINTS, dtype=torch.bool, device=keypoints.device)
    scored[list(SCORED)] = True
    return torch.where(usable & scored, confidence, torch.zeros_like(confidence))


def usable_places(keypoints: Float[Tensor, "B 44 D"]) -> Float[Tensor, "B 44 D-1"]:
    """Where the points are, crop units or m; the origin for absent ones, whatever was written there.

    An absent point has weight 0, but 0 times the overflow of a huge or infinite place would be NaN.
    """
    usable = (usable_confidence(keypoints) > 0)[..., None]
    return torch.where(usable, keypoints[..., :-1], torch.zeros_like(keypoints[..., :-1]))


def kp2d_error(projected: Float[Tensor, "B 44 2"], keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B"]:
    """sum(c d) / sum(c), d the Euclidean distance in crop units; NaN for a person without a usable keypoint."""
    confidence = usable_confidence(keypoints)
    distance = (projected - usable_places(keypoints)).norm(dim=-1)
    return (confidence * distance).sum(-1) / confidence.sum(-1)


def enough_keypoints(keypoints: Float[Tensor, "B 44 3"]) -> Bool[Tensor, "B"]:
    """At least five distinct confident points among 0-24."""
    return distinct_keypoints(keypoints) >= MIN_CONFIDENT_BODY_POINTS


def distinct_keypoints(keypoints: Float[Tensor, "B 44 3"]) -> Int[Tensor, "B"]:
    """How many confident points there are among 0-24: two joints at one place count once."""
    usable = usable_confidence(keypoints)[:, :_BODY_POINTS] > 0
    place = usable_places(keypoints)[:, :_BODY_POINTS]
    same = (place[:, :, None] == place[:, None]).all(-1) & usable[:, None]
    first = same.int().argmax(-1) == torch.arange(_BODY_POINTS, device=keypoints.device)
    return (usable & first).sum(-1)
