"""Where a crop lies in its photo, augmentation included, and the 256 x 256 patch cut there (SPEC section 1)."""

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.crop import CROP_PX
from trainer.data.decode import Picture

_ONE: Final = 256  # fixed-point unit of the weights between two pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class CropTransform:
    """Affine map `matrix` (2, 3) from photo px to crop units; `mirrored` when it exchanges left and right."""

    matrix: NDArray[np.float64]
    mirrored: bool

    def __call__(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points (..., 2) in photo px to crop units."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def inverse(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points (..., 2) in crop units to photo px."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    @property
    def crop_px_per_photo_px(self) -> float:
        return CROP_PX * float(np.hypot(*self.matrix[:, 0]))


def crop_transform(
    center: NDArray[Any], side: float, *, scale: float = 1.0, rotation_deg: float = 0.0, mirrored: bool = False
) -> CropTransform:
    """The crop around `center` (2,) px of side `side` * `scale` px; without augmentation that of `pipeline.crop`.

    As HSMR: the photo is mirrored first, then the window turned by rotation_deg about the centre, so that the person
    turns by as much the other way (towards -y first).
    """
    c, s = cos(radians(rotation_deg)), sin(radians(rotation_deg))
    linear = np.array([[c, s], [-s, c]]) / (side * scale)
    if mirrored:
        linear[:, 0] *= -1
    shift = -linear @ np.asarray(center, np.float64)
    return CropTransform(matrix=np.column_stack([linear, shift]), mirrored=mirrored)


def cut_patch(picture: Picture, transform: CropTransform) -> NDArray[np.uint8]:
    """The crop (3, 256, 256) RGB, bilinear; black outside of the photo."""
    patch = np.empty((3, CROP_PX, CROP_PX), np.uint8)
    _warp(picture.pixels, _patch_px_to_pixels(picture, transform), patch)
    return patch


def _patch_px_to_pixels(picture: Picture, transform: CropTransform) -> NDArray[np.float64]:
    """Affine map (2, 3) from patch px to the pixels of the (reduced) picture.

    Coordinates are those of keypoints: px 0 is the middle of the first pixel. The middle of the first reduced pixel
    is that of a block of factor x factor.
    """
    linear = np.linalg.inv(transform.matrix[:, :2])
    start = linear @ (np.full(2, -0.5) - transform.matrix[:, 2])
    scaled = np.column_stack([linear / CROP_PX, start])
    scaled[:, 2] -= (picture.factor - 1) / 2
    return scaled / picture.factor


@numba.njit(cache=True, nogil=True)
def _warp(pixels: NDArray[np.uint8], inverse: NDArray[np.float64], patch: NDArray[np.uint8]) -> None:
    """patch[c, v, u] = pixels at inverse @ (u, v, 1), between the four nearest, those outside counting as 0."""
    height, width, _ = pixels.shape
    for v in range(patch.shape[1]):
        for u in range(patch.shape[2]):
            x = inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2]
            y = inverse[1, 0] * u + inverse[1, 1] * v + inverse[1, 2]
            if not (-1 < x < width and -1 < y < height):
                patch[0, v, u] = patch[1, v, u] = patch[2, v, u] = 0
                continue
            left, top = int(np.floor(x)), int(np.floor(y))
            right, low = int((x - left) * _ONE + 0.5), int((y - top) * _ONE + 0.5)
            inside = left >= 0 and left + 1 < width and top >= 0 and top + 1 < height
            for c in range(3):
                if inside:
                    upper = pixels[top, left, c] * (_ONE - right) + pixels[top, left + 1, c] * right
                    lower = pixels[top + 1, left, c] * (_ONE - right) + pixels[top + 1, left + 1, c] * right
                else:
                    upper = _at(pixels, top, left, c) * (_ONE - right) + _at(pixels, top, left + 1, c) * right
                    lower = _at(pixels, top + 1, left, c) * (_ONE - right) + _at(pixels, top + 1, left + 1, c) * right
                patch[c, v, u] = (upper * (_ONE - low) + lower * low + _ONE * _ONE // 2) >> 16


@numba.njit(cache=True, nogil=True)
def _at(pixels: NDArray[np.uint8], y: int, x: int, channel: int) -> int:
    """A pixel's value, 0 outside."""
    if 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]:
        return int(pixels[y, x, channel])
    return 0
