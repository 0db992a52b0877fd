"""The person crop: one function for fit, acceptance, training, prediction and overlays (docs/camera_and_crop.md).

Crop units: ((x - cx) / side, (y - cy) / side), so [-0.5, 0.5] spans the square crop; y points down.
"""

from typing import Final

import numpy as np
from jaxtyping import Float32

CROP_PX: Final = 256
"""Side of the network's input crop; errors in "px of the 256 crop" are crop units times this."""


def to_crop_units(
    points: Float32[np.ndarray, "*N D"], center: Float32[np.ndarray, "2"], side: float
) -> Float32[np.ndarray, "*N D"]:
    """Points (..., 2+) in photo px to crop units; further columns (confidence) pass through."""
    out = np.array(points, dtype=np.float32)
    out[..., :2] = (points[..., :2] - center) / np.float32(side)
    return out
