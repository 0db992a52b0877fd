"""Crops as the evaluation of HMR2.0 and HSMR cuts them: no augmentation, no blur, EXIF ignored."""

from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import simplejpeg
import torch
from jaxtyping import Float64, UInt8
from PIL import Image

from pipeline.image.crop import CROP_PX
from pipeline.shards.jpeg import MAX_PIXELS, BadPhotoError, check_jpeg_header
from pipeline.shards.reader import MAX_JPEG_BYTES
from schemas.person import RejectionReason
from trainer.data.decode import Picture
from trainer.data.patch import crop_transform, cut_patch
from trainer.evaluation.protocols import CropStyle

_ASPECT: Final = 192 / 256  # width over height of what the network sees of a crop
_JPEG: Final = b"\xff\xd8"

Pixels = UInt8[np.ndarray, "H W 3"]


def crop_sides(size: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N"]:
    """Sides (N,) px of the square crops for boxes of this width and height: widened to 192:256, the longer side."""
    width, height = size.T
    return np.maximum(np.maximum(width, height), np.maximum(width / _ASPECT, height * _ASPECT))


def read_photo(folder: Path, name: str) -> Pixels:
    """The image (H, W, 3) RGB as it is stored, whatever its EXIF data say. Raises BadPhotoError."""
    if not _safe(name):
        raise BadPhotoError(RejectionReason.UNSAFE_NAME, "no path below the folder of images")
    try:
        path = folder / name
        if path.stat().st_size > MAX_JPEG_BYTES:
            raise BadPhotoError(RejectionReason.TOO_LARGE, f"{path.stat().st_size} bytes, at most {MAX_JPEG_BYTES}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadPhotoError(RejectionReason.MISSING_PHOTO, f"not below {folder}") from None
    except OSError as error:
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, f"cannot be read: {error}") from error
    return _jpeg(data) if data.startswith(_JPEG) else _png(path)


def _safe(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and name.isprintable() and not path.is_absolute() and ".." not in path.parts


def _jpeg(data: bytes) -> Pixels:
    check_jpeg_header(data)
    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, f"damaged JPEG: {error}") from error


def _png(path: Path) -> Pixels:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                detail = f"{image.width} x {image.height} px, at most {MAX_PIXELS} px in all"
                raise BadPhotoError(RejectionReason.TOO_LARGE, detail)
            return np.asarray(image.convert("RGB"))
    except BadPhotoError:
        raise
    except Exception as error:  # Pillow raises nearly any type for broken bytes
        detail = f"no readable JPEG or PNG: {type(error).__name__}: {error}"
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, detail) from error


def cut_crop(
    pixels: Pixels, center: Float64[np.ndarray, "2"], side: float, style: CropStyle
) -> UInt8[np.ndarray, "3 256 256"]:
    """The square crop (3, 256, 256) RGB, black outside of the photo.

    `warp`: bilinear between the four nearest pixels. `resize`: the corners lose their fractions, what is between them
    is resized as cv2 resizes: bilinear, pixels counted from their middles, no blur.
    """
    if style == "warp":
        return cut_patch(Picture(pixels, 1), crop_transform(center, side))
    left, top = (int(value) for value in center - side / 2)
    right, bottom = (int(value) for value in center + side / 2)
    return _resized(_window(pixels, left, top, max(right, left + 1), max(bottom, top + 1)))


def _window(pixels: Pixels, left: int, top: int, right: int, bottom: int) -> UInt8[np.ndarray, "h w 3"]:
    height, width, _ = pixels.shape
    window = np.zeros((bottom - top, right - left, 3), np.uint8)
    x0, x1, y0, y1 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if x1 > x0 and y1 > y0:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return window


def _resized(window: Pixels) -> UInt8[np.ndarray, "3 256 256"]:
    image = torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1))[None]).float()
    patch = torch.nn.functional.interpolate(image, size=CROP_PX, mode="bilinear", align_corners=False, antialias=False)
    return patch[0].round().clamp(0, 255).to(torch.uint8).numpy()
