"""The focal length that a photo's own file states (EXIF), in px of the photo."""

import io
from collections.abc import Mapping
from math import hypot
from typing import Any, Final

from PIL import Image
from PIL.ExifTags import IFD, Base

from schemas.camera import FILM_DIAGONAL_MM

_SAME_SHAPE: Final = 0.02
_LEAST_MM, _MOST_MM = 4.0, 2000.0


def focal_from_exif(jpeg: bytes, width: int, height: int) -> float | None:
    """The focal length in px of a photo of this size, from its 35 mm equivalent; None where the file does not tell.

    A photo whose sides have another ratio than those that EXIF states was cut after it was taken: then nothing is
    known, neither the focal length nor where the lens looked.
    """
    tags = _tags(jpeg)
    millimetres = _number(tags.get(Base.FocalLengthIn35mmFilm))
    if millimetres is None or not _LEAST_MM <= millimetres <= _MOST_MM or _was_cut(tags, width, height):
        return None
    return millimetres / FILM_DIAGONAL_MM * hypot(width, height)


def _tags(jpeg: bytes) -> Mapping[int, Any]:
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return dict(image.getexif().get_ifd(IFD.Exif))
    except Exception:  # whatever hostile metadata makes Pillow raise: it is no metadata; others check the photo
        return {}


def _was_cut(tags: Mapping[int, Any], width: int, height: int) -> bool:
    stated = [_number(tags.get(tag)) for tag in (Base.ExifImageWidth, Base.ExifImageHeight)]
    if any(side is None or side <= 0 for side in stated):
        return False
    longer, shorter = max(stated), min(stated)  # pyrefly: ignore
    return abs(longer / shorter * min(width, height) / max(width, height) - 1) > _SAME_SHAPE  # pyrefly: ignore


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ArithmeticError):
        return None
