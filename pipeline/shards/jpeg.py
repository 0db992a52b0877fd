"""Does a photo really decode? Strict, bounded, and without making the full picture."""

import numpy as np
import simplejpeg

from schemas.person import RejectionReason

MAX_PIXELS = 100_000_000
_MAX_SCANS = 500  # a progressive photo has about 10; thousands make a decoder work for minutes on a few kB
_COLORSPACES = frozenset({"YCbCr", "RGB", "Gray"})


class BadPhotoError(ValueError):
    """A photo that is refused, and why."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def check_jpeg(jpeg: bytes) -> tuple[int, int]:
    """(width, height) in px of a JPEG whose every coefficient decodes without a warning. Raises BadPhotoError.

    Decodes to grey at 1/8 size: the entropy-coded data, where damage shows, is read in full, only the inverse
    transforms are saved. The verdict is that of a full decode (tests/shards/test_jpeg.py compares) in half the time.
    """
    size = check_jpeg_header(jpeg)
    try:
        simplejpeg.decode_jpeg(jpeg, "GRAY", fastdct=True, fastupsample=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, f"damaged JPEG: {error}") from error
    return size


def check_jpeg_header(jpeg: bytes) -> tuple[int, int]:
    """(width, height) in px of a JPEG that is safe to give to a decoder, though it may be damaged further on.

    Raises BadPhotoError.
    """
    try:
        header = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError as error:
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, f"no readable JPEG header: {error}") from error
    height, width, colorspace = int(header[0]), int(header[1]), header[2]
    if width * height > MAX_PIXELS:
        raise BadPhotoError(RejectionReason.TOO_LARGE, f"{width} x {height} px, at most {MAX_PIXELS} px in all")
    if colorspace not in _COLORSPACES:
        expected = ", ".join(sorted(_COLORSPACES))
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, f"colours are {colorspace}, expected {expected}")
    if (scans := _count_scans(jpeg)) > _MAX_SCANS:
        raise BadPhotoError(RejectionReason.TOO_LARGE, f"JPEG with {scans} scans, at most {_MAX_SCANS}")
    return width, height


def _count_scans(jpeg: bytes) -> int:
    """How often the start-of-scan mark occurs; a sixth of the time of bytes.count, which every photo pays."""
    data = np.frombuffer(jpeg, np.uint8)
    return int(np.count_nonzero((data[:-1] == 0xFF) & (data[1:] == 0xDA)))
