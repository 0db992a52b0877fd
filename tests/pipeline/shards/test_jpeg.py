"""The quick check of a photo gives the verdict of a full, strict decode."""

import io
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipeline.shards.jpeg import BadPhotoError, check_jpeg
from schemas.person import RejectionReason
from tests.pipeline.shards.samples import photo_bytes


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


def progressive(width: int, height: int, scans: int) -> bytes:
    """Grey JPEG of one DC scan and `scans` AC scans, which say in a few bytes that all their blocks are empty."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body

    blocks = -(-width // 8) * -(-height // 8)
    runs = [min(32767, blocks - start) for start in range(0, blocks, 32767)]
    bits = "".join(f"0{max(run - 16384, 0):014b}" for run in runs)  # code 0: a run of 16384 + 14 bits of empty blocks
    empty = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big").replace(b"\xff", b"\xff\0")
    one_code = bytes([1] + [0] * 15)
    head = b"\xff\xd8" + segment(0xDB, bytes([0] + [1] * 64)) + segment(0xC4, b"\x00" + one_code + b"\x00")
    head += segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00") + segment(
        0xC4, b"\x10" + one_code + b"\xe0"
    )
    dc = segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes(-(-blocks // 8))
    return (
        head + dc + b"".join(segment(0xDA, bytes([1, 1, 0, 1 + k % 63, 1 + k % 63, 0])) + empty for k in range(scans))
    )


def test_a_progressive_photo_of_many_pixels_or_scans_is_refused_before_its_coefficients_are_held() -> None:
    assert check_jpeg(progressive(640, 480, 9) + b"\xff\xd9") == (640, 480)
    for jpeg, message in (
        (progressive(8000, 8000, 5), "progressive JPEG of 8000 x 8000"),
        (progressive(640, 480, 200), "201 scans"),
    ):
        with pytest.raises(BadPhotoError, match=message) as caught:
            check_jpeg(jpeg + b"\xff\xd9")
        assert caught.value.reason == RejectionReason.TOO_LARGE


def test_the_thumbnail_of_a_large_baseline_photo_is_no_second_scan() -> None:
    large = simplejpeg.encode_jpeg(np.zeros((5100, 5000, 1), np.uint8), colorspace="GRAY")
    thumbnail = progressive(160, 120, 3)
    app1 = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert check_jpeg(large[:2] + app1 + large[2:]) == (5000, 5100)


@pytest.mark.parametrize("jpeg", [b"", b"\xff\xd8", b"GIF89a", encoded("CMYK")])
def test_what_is_no_photo(jpeg: bytes) -> None:
    with pytest.raises(BadPhotoError) as caught:
        check_jpeg(jpeg)
    assert caught.value.reason == RejectionReason.UNDECODABLE_PHOTO
