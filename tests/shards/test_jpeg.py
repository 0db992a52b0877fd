"""The quick check of a photo gives the verdict of a full, strict decode."""

import io
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipeline.shards.jpeg import BadPhotoError, check_jpeg
from schemas.person import RejectionReason
from tests.shards.samples import photo_bytes


def encoded(mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo_bytes(width=160, height=120))).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


PHOTOS = {
    "baseline": encoded(),
    "progressive": encoded(progressive=True),
    "444": encoded(subsampling=0),
    "restarts": encoded(restart_marker_blocks=4),
    "grey": encoded("L"),
}


def damaged(jpeg: bytes, rng: np.random.Generator) -> bytes:
    data, at = bytearray(jpeg), int(rng.integers(2, len(jpeg)))
    match int(rng.integers(4)):
        case 0:
            return bytes(data[:at])
        case 1:
            data[at] = rng.integers(256)
        case 2:
            data[at : at + 40] = rng.bytes(len(data[at : at + 40]))
        case _:
            del data[at : at + int(rng.integers(1, 60))]
    return bytes(data)


def full_decode_accepts(jpeg: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(jpeg, "RGB", strict=True)
    except ValueError:
        return False
    return True


def check_accepts(jpeg: bytes) -> bool:
    try:
        check_jpeg(jpeg)
    except BadPhotoError:
        return False
    return True


@pytest.mark.parametrize("kind", PHOTOS)
def test_the_verdict_is_that_of_a_full_decode(kind: str) -> None:
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(300):
        jpeg = damaged(PHOTOS[kind], rng)
        verdicts.add(full_decode_accepts(jpeg))
        assert check_accepts(jpeg) == full_decode_accepts(jpeg)
    assert verdicts == {True, False}


@pytest.mark.parametrize("kind", PHOTOS)
def test_good_photos_give_their_size(kind: str) -> None:
    assert check_jpeg(PHOTOS[kind]) == (160, 120)


def test_a_photo_of_billions_of_pixels_is_refused_by_its_header() -> None:
    jpeg = bytearray(encoded())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(BadPhotoError, match="65000 x 65000") as caught:
        check_jpeg(bytes(jpeg))
    assert caught.value.reason == RejectionReason.TOO_LARGE


def test_a_photo_of_thousands_of_scans_is_refused() -> None:
    with pytest.raises(BadPhotoError, match="scans"):
        check_jpeg(encoded() + b"\xff\xda" * 5000)


@pytest.mark.parametrize("jpeg", [b"", b"\xff\xd8", b"GIF89a", encoded("CMYK")])
def test_what_is_no_photo(jpeg: bytes) -> None:
    with pytest.raises(BadPhotoError) as caught:
        check_jpeg(jpeg)
    assert caught.value.reason == RejectionReason.UNDECODABLE_PHOTO
