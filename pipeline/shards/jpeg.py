"""Does a photo really decode? Strict, bounded, and without making the full picture."""

import numpy as np
import simplejpeg

from schemas.person import RejectionReason

MAX_PIXELS = 100_000_000
MAX_BUFFERED_PIXELS = 25_000_000  # in several scans: the decoder holds all coefficients, 6 bytes a pixel
_MAX_SCANS = 100  # a progressive photo has about 10; each one is a pass over the whole picture, be it of a few bytes
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA
_COLORSPACES = frozenset({"YCbCr", "RGB", "Gray"})


class BadPhotoError(ValueError):
    """A photo that is refused, and why."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def check_jpeg(jpeg: bytes) -> tuple[int, int]:
    """(width, height) in px of a JPEG whose every coefficient decodes without a warning. Raises BadPhotoError.

    Decodes to grey at 1/8 size: the entropy-coded data, where damage shows, is read in full, only the inverse
    transforms are saved. The verdict is that of a full decode (test_jpeg.py compares) in half the time.
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
    scans, buffered = _scans(jpeg)
    if scans > _MAX_SCANS:
        raise BadPhotoError(RejectionReason.TOO_LARGE, f"JPEG with {scans} scans, at most {_MAX_SCANS}")
    if buffered and width * height > MAX_BUFFERED_PIXELS:
        detail = (
            f"progressive JPEG of {width} x {height} px, at most {MAX_BUFFERED_PIXELS} px: save it as a baseline JPEG"
        )
        raise BadPhotoError(RejectionReason.TOO_LARGE, detail)
    return width, height


def _scans(jpeg: bytes) -> tuple[int, bool]:
    """How many scans follow the header, and whether one picture is spread over several; the worst when in doubt."""
    position, frame, components = 2, 0, 0
    while position + 9 < len(jpeg):
        marker = jpeg[position + 1]
        if jpeg[position] != 0xFF or marker in (0xFF, 0x00):  # padding, and what libjpeg skips
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker == _SCAN:  # thumbnails, which lie in the segments before, are not counted
            return _count_scans(jpeg, position), frame in _PROGRESSIVE or jpeg[position + 4] < components
        else:
            if marker in _FRAMES:
                frame, components = marker, jpeg[position + 9]
            position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return _count_scans(jpeg, 0), True


def _count_scans(jpeg: bytes, start: int) -> int:
    """How often the start-of-scan mark occurs; a sixth of the time of bytes.count, which every photo pays."""
    data = np.frombuffer(jpeg, np.uint8)[start:]
    return int(np.count_nonzero((data[:-1] == 0xFF) & (data[1:] == _SCAN)))
