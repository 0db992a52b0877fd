"""Where a crop lies in its photo, augmentation included, and the 256 x 256 patch there (docs/camera_and_crop.md)."""

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float64, UInt8
from numpy.typing import NDArray

from pipeline.image.crop import CROP_PX
from pipeline.numerics.numba_cache import compiled
from trainer.data.decode import Picture

_FIXED: Final = 1 << 16
_HALF_WEIGHT: Final = 128  # rounds a place to the 1/256 that weights have


@dataclass(frozen=True, slots=True, kw_only=True)
class CropTransform:
    """Affine map `matrix` (2, 3) from photo px to crop units; `mirrored` when it exchanges left and right."""

    matrix: Float64[np.ndarray, "2 3"]
    mirrored: bool

    def __call__(self, points: Float[np.ndarray, "*N 2"]) -> Float64[np.ndarray, "*N 2"]:
        """Points (..., 2) in photo px to crop units."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def inverse(self, points: Float[np.ndarray, "*N 2"]) -> Float64[np.ndarray, "*N 2"]:
        """Points (..., 2) in crop units to photo px."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    @property
    def crop_px_per_photo_px(self) -> float:
        return CROP_PX * float(np.hypot(*self.matrix[:, 0]))


def crop_transform(
    center: Float[np.ndarray, "2"],
    side: float,
    *,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    mirrored: bool = False,
) -> CropTransform:
    """The crop around `center` (2,) px of side `side` * `scale` px; without augmentation that of `pipeline.image.crop`.

    As HSMR: the photo is mirrored first, then the window turned by rotation_deg about the centre, so that the person
    turns by as much the other way (towards -y first).
    """
    c, s = cos(radians(rotation_deg)), sin(radians(rotation_deg))
    linear = np.array([[c, s], [-s, c]]) / (side * scale)
    if mirrored:
        linear[:, 0] *= -1
    shift = -linear @ np.asarray(center, np.float64)
    return CropTransform(matrix=np.column_stack([linear, shift]), mirrored=mirrored)


def cut_patch(picture: Picture, transform: CropTransform) -> UInt8[np.ndarray, "3 256 256"]:
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


@compiled(nogil=True)
def _warp(pixels: NDArray[np.uint8], inverse: NDArray[np.float64], patch: NDArray[np.uint8]) -> None:
    """patch[c, v, u] = pixels at inverse @ (u, v, 1), between the four nearest, those outside counting as 0.

    Places are fixed-point numbers of 16 binary digits, of which a weight takes the upper 8, rounded. Unsigned indices
    spare numba its test for negative ones: half of the time.
    """
    height, width, _ = pixels.shape
    flat = pixels.reshape(-1)
    line = np.uint64(3 * width)
    step_x, step_y = round(inverse[0, 0] * _FIXED), round(inverse[1, 0] * _FIXED)
    for v in range(patch.shape[1]):
        x = int(np.floor((inverse[0, 1] * v + inverse[0, 2]) * _FIXED + 0.5)) + _HALF_WEIGHT
        y = int(np.floor((inverse[1, 1] * v + inverse[1, 2]) * _FIXED + 0.5)) + _HALF_WEIGHT
        for u in range(patch.shape[2]):
            left, top = x >> 16, y >> 16
            right, low = np.int32((x >> 8) & 255), np.int32((y >> 8) & 255)
            x += step_x
            y += step_y
            if left >= 0 and left + 1 < width and top >= 0 and top + 1 < height:
                upper_at = np.uint64(top) * line + np.uint64(3 * left)
                for c in range(3):
                    a = upper_at + np.uint64(c)
                    b, d = a + np.uint64(3), a + line
                    e = d + np.uint64(3)
                    patch[c, v, u] = _between(flat[a], flat[b], flat[d], flat[e], right, low)
            elif left < -1 or top < -1 or left >= width or top >= height:
                patch[0, v, u] = patch[1, v, u] = patch[2, v, u] = 0
            else:
                for c in range(3):
                    a, b = _at(pixels, top, left, c), _at(pixels, top, left + 1, c)
                    d, e = _at(pixels, top + 1, left, c), _at(pixels, top + 1, left + 1, c)
                    patch[c, v, u] = _between(a, b, d, e, right, low)


@compiled(nogil=True)
def _between(top_left: Any, top_right: Any, low_left: Any, low_right: Any, right: Any, low: Any) -> Any:
    """Of four uint8 neighbours, with the int32 weights `right` and `low` in 1/256."""
    upper = np.int32(top_left) * (np.int32(256) - right) + np.int32(top_right) * right
    lower = np.int32(low_left) * (np.int32(256) - right) + np.int32(low_right) * right
    return (upper * (np.int32(256) - low) + lower * low + np.int32(_FIXED // 2)) >> np.int32(16)


@compiled(nogil=True)
def _at(pixels: NDArray[np.uint8], y: int, x: int, channel: int) -> np.uint8:
    """A pixel's value, 0 outside."""
    if 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]:
        return pixels[y, x, channel]
    return np.uint8(0)
