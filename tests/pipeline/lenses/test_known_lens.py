"""Which lens a photo gets: the shard's own, the calibration file's, that of EXIF, the usual one; or nobody's."""

import io
from math import hypot
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import IFD, Base

from pipeline.lenses.calibration import Calibration, read_calibration
from pipeline.lenses.exif import FILM_DIAGONAL_MM, focal_from_exif
from pipeline.lenses.known_lens import KnownLenses
from pipeline.runtime.config import ConfigError
from schemas.camera import CameraSource, Lens
from schemas.person import PersonId, Photo
from tests.unseen_person import unseen_person

WIDTH, HEIGHT = 60, 80
CALIBRATED = """
- photos: lab/cam01/*
  focal_px: 90
  principal_point: [31, 41]
  distortion: [-0.1, 0.01, 0, 0.002]
- photos: lab/*
  focal_px: 70
"""


def jpeg(millimetres: object = None, stated: tuple[int, int] | None = None) -> bytes:
    exif = Image.Exif()
    tags = exif.get_ifd(IFD.Exif)
    if millimetres is not None:
        tags[Base.FocalLengthIn35mmFilm] = millimetres
    if stated is not None:
        tags[Base.ExifImageWidth], tags[Base.ExifImageHeight] = stated
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def photo(dataset: str, key: str, data: bytes, own: Lens | None = None) -> Photo:
    person = unseen_person(PersonId(dataset, "000000", key, 0), (30, 40), 50.0, own)
    return Photo(key=key, jpeg=data, width=WIDTH, height=HEIGHT, people=(person,))


def lens_of(lenses: KnownLenses, seen: Photo) -> Lens | None:
    (found,) = lenses.of([seen])
    return found.people[0].lens


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    file = tmp_path / "cameras.yaml"
    file.write_text(CALIBRATED)
    return read_calibration(str(file))


def test_what_is_known_best_wins(calibration: Calibration) -> None:
    lenses = KnownLenses(calibration=calibration)
    own = Lens(focal_px=55.0, principal_point=np.array([1.0, 2.0]), source=CameraSource.ESTIMATED)
    assert lens_of(lenses, photo("lab", "cam01/a", jpeg(50), own)) is own
    first = lens_of(lenses, photo("lab", "cam01/a", jpeg(50)))
    assert first is not None
    assert (first.source, first.focal_px, first.principal_point.tolist()) == (CameraSource.CALIBRATION, 90, [31, 41])
    assert first.distortion.tolist() == [-0.1, 0.01, 0, 0.002]
    second = lens_of(lenses, photo("lab", "cam02/a", jpeg(50)))
    assert second is not None
    assert (second.focal_px, second.principal_point.tolist()) == (70, [30, 40])
    exif = lens_of(lenses, photo("wild", "a", jpeg(50)))
    assert exif is not None
    assert (exif.source, exif.focal_px) == (CameraSource.EXIF, pytest.approx(50 / FILM_DIAGONAL_MM * 100))
    usual = lens_of(lenses, photo("wild", "a", jpeg()))
    assert usual is not None
    assert (usual.source, usual.focal_px) == (CameraSource.PRIOR, pytest.approx(hypot(WIDTH, HEIGHT)))
    assert lens_of(KnownLenses(mode="hsmr", calibration=calibration), photo("lab", "cam01/a", jpeg(50), own)) is None


def test_a_photo_without_people_stays(calibration: Calibration) -> None:
    empty = Photo(key="a", jpeg=jpeg(), width=WIDTH, height=HEIGHT, people=())
    assert list(KnownLenses(calibration=calibration).of([empty])) == [empty]


def test_a_photo_that_was_cut_tells_nothing() -> None:
    assert focal_from_exif(jpeg(50, (600, 800)), WIDTH, HEIGHT) == pytest.approx(50 / FILM_DIAGONAL_MM * 100)
    assert focal_from_exif(jpeg(50, (800, 600)), WIDTH, HEIGHT) is not None, "turned, not cut"
    assert focal_from_exif(jpeg(50, (800, 800)), WIDTH, HEIGHT) is None


@pytest.mark.parametrize("millimetres", [0, 1, 60_000])
def test_focal_lengths_that_no_lens_has(millimetres: int) -> None:
    assert focal_from_exif(jpeg(millimetres), WIDTH, HEIGHT) is None


@given(st.integers(0, 2**32 - 1))
def test_hostile_metadata_is_no_metadata(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(jpeg(50, (60, 80)), np.uint8).copy()
    places = rng.integers(2, 120, 6)
    data[places] = rng.integers(0, 256, 6)
    found = focal_from_exif(data.tobytes()[: rng.integers(1, len(data))], WIDTH, HEIGHT)
    assert found is None or (np.isfinite(found) and found > 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cam01: 5", "a list of cameras expected"),
        ("- photos: a", "camera 1: photos and focal_px expected"),
        ("- {photos: a, focal_px: 5, k1: 0}", "met photos, focal_px, k1"),
        ("- {photos: a, focal_px: -5}", "focal_px=-5"),
        ("- {photos: a, focal_px: wide}", "could not convert"),
        ("- {photos: a, focal_px: 5, distortion: [1, 2]}", "4 numbers expected"),
        ("- {photos: a, focal_px: 5}\n- 7", "camera 2: photos and focal_px expected"),
        ("[", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_in_a_calibration_file_is_said(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_calibration(str(file))
    assert str(file) in str(caught.value)
    with pytest.raises(ConfigError, match="nowhere"):
        read_calibration(str(tmp_path / "nowhere.yaml"))
