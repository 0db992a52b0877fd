"""What is known of the camera that took a photo, and where it is known from."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import hypot
from typing import Final

import numpy as np
from jaxtyping import Float

FILM_DIAGONAL_MM: Final = hypot(36, 24)
"""Of the 35 mm film that "35 mm equivalent" refers to, by the diagonal (CIPA DCG-001)."""


class CameraSource(StrEnum):
    """Where a person's camera comes from; a label holds for this camera alone."""

    HSMR = "hsmr"
    """Nothing is known: 5000 px for a 256 px crop, looking straight at the crop, as HSMR trains."""
    CALIBRATION = "calibration"
    EXIF = "exif"
    """The focal length that the photo's file states, its principal point in the middle."""
    ESTIMATED = "estimated"
    """From how the photo's or the data set's people look, under the prior over focal lengths."""
    PRIOR = "prior"
    """The most usual focal length for a photo of this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """The pinhole of a whole photo: u = focal_px x' + principal_point, x' the distorted (X/Z, Y/Z); y points down.

    focal_px px; principal_point (2,) px; distortion (4,) k1, k2, p1, p2 of Brown's model as OpenCV writes it.
    Raises ValueError for a focal length that no camera has.
    """

    focal_px: float
    principal_point: Float[np.ndarray, "2"]
    distortion: Float[np.ndarray, "4"] = field(default_factory=lambda: np.zeros(4))
    source: CameraSource

    def __post_init__(self) -> None:
        if not (np.isfinite(self.focal_px) and self.focal_px > 0):
            raise ValueError(f"focal_px={self.focal_px}: a positive number of px expected.")
        if not (np.isfinite(self.principal_point).all() and np.isfinite(self.distortion).all()):
            raise ValueError("principal_point and distortion must be finite numbers.")
