"""One decode of a photo for all of its people, at the smallest size that gives every crop its pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from jaxtyping import UInt8

DCT_FACTORS: Final = (1, 2, 4, 8)
"""Reductions that libjpeg-turbo has vectorised transforms for. The others it offers (7/8, 3/4, 5/8) cost more than the
full picture: 6.3, 4.9 and 4.3 ms against 3.4 (1/2: 2.6, 3/8: 2.8, 1/4: 2.3; decision 0016)."""


class DamagedPhotoError(ValueError):
    """The JPEG does not decode without a warning."""


@dataclass(frozen=True, slots=True)
class Picture:
    """`pixels` (H, W, 3) RGB uint8, each standing for `factor` x `factor` px of the photo."""

    pixels: UInt8[np.ndarray, "H W 3"]
    factor: int


def dct_factor(crop_px_per_photo_px: Iterable[float]) -> int:
    """The largest reduction that still leaves at least one pixel for each px of the sharpest of these crops."""
    sharpest = max(crop_px_per_photo_px)
    return max((factor for factor in DCT_FACTORS if factor * sharpest <= 1), default=1)


def decode_photo(jpeg: bytes, size: tuple[int, int], factor: int) -> Picture:
    """Decode a photo of `size` (width, height) px, reduced by one of DCT_FACTORS. Raises DamagedPhotoError."""
    width, height = size
    try:
        pixels = simplejpeg.decode_jpeg(
            jpeg, "RGB", min_width=-(-width // factor), min_height=-(-height // factor), min_factor=1
        )
    except ValueError as error:
        raise DamagedPhotoError(f"damaged JPEG: {error}") from error
    return Picture(pixels, factor)
