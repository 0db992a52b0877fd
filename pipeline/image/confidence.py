"""What the confidence of a keypoint counts: the one rule of fits, errors and training (docs/objectives.md)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from schemas.keypoints import MIN_CONFIDENCE


def counted_confidence(confidence: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """0 (absent) below 0.3, so also where negative, and where not finite; 1 above 1."""
    counts = torch.isfinite(confidence) & (confidence >= MIN_CONFIDENCE)
    return torch.where(counts, confidence.clamp(max=1), torch.zeros_like(confidence))


def counted_points(points: Float[np.ndarray, "44 D"]) -> Float[np.ndarray, "44 D"]:
    """Points (44, D), the confidence last, as it counts."""
    confidence = counted_confidence(torch.from_numpy(np.ascontiguousarray(points[:, -1])))
    return np.column_stack([points[:, :-1], confidence.numpy()])
