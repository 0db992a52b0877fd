"""Folders of images: order, boxes, turned and transparent images, everything that is wrong with some of them."""

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from PIL.ExifTags import IFD, Base

from pipeline.lenses.exif import focal_from_exif
from schemas.person import Photo, Rejection, RejectionReason
from tests.pipeline.shards.samples import photo_bytes
from trainer.data import plain_patches
from trainer.inference.boxes import Box, BoxesError, read_boxes
from trainer.inference.image_folder import ImageFolder, upright_jpeg
from trainer.network.vit import COLUMNS_CUT


def read(folder: ImageFolder) -> tuple[list[Photo], list[Rejection]]:
    items = list(folder)
    return [i for i in items if isinstance(i, Photo)], [i for i in items if isinstance(i, Rejection)]


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of 96 x 64 px, one of them in a folder of its own."""
    images = tmp_path / "walk"
    (images / "sub").mkdir(parents=True)
    for name in ("10.jpg", "2.JPG", "sub/1.jpeg"):
        (images / name).write_bytes(photo_bytes())
    (images / "notes.txt").write_text("not an image")
    (images / ".hidden.jpg").write_text("not an image either")
    return images


def test_each_image_is_one_person_without_boxes(folder: Path) -> None:
    photos, rejections = read(ImageFolder(folder))
    assert [photo.key for photo in photos] == ["2.JPG", "10.jpg", "sub/1.jpeg"]
    assert rejections == []
    (person,) = photos[0].people
    assert (person.id, person.center.tolist()) == (("walk", "", "2.JPG", 0), [47.5, 31.5])
    assert person.side == pytest.approx(96)
    assert person.track is None
    assert not person.keypoints_2d.any()


def test_frames_of_a_video_are_numbered_by_name(folder: Path) -> None:
    photos, _ = read(ImageFolder(folder, fps=50))
    assert [photo.people[0].track for photo in photos] == [("person0", 0), ("person0", 1), ("person0", 2)]
    assert photos[0].people[0].fps == 50


@pytest.mark.parametrize("name", ["boxes.csv", "boxes.json"])
def test_boxes_number_the_people(name: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_text(
            "\ufeffimage,x0,y0,x1,y1,score\n2.JPG,10,20,50,40,0.9\n2.JPG,0,0,9,30,1\n./10.jpg,1,2,1e3,4e3,1\n"
        )
    else:
        path.write_text(
            '[{"image": "2.JPG", "x0": 10, "y0": 20, "x1": 50, "y1": 40}, '
            '{"image": "2.JPG", "x0": 0, "y0": 0, "x1": 9, "y1": 30}, '
            '{"image": "10.jpg", "x0": 1, "y0": 2, "x1": 1e3, "y1": 4e3}]'
        )
    photos, rejections = read(ImageFolder(folder, read_boxes(path)))
    assert [len(photo.people) for photo in photos] == [2, 0, 0]
    first, second = photos[0].people
    assert first.center.tolist() == [30, 30]
    assert (first.side, second.side) == (pytest.approx(1.1 * 40 * 4 / 3), pytest.approx(33))
    found = [(r.key, r.person, r.reason) for r in rejections]
    assert found == [("10.jpg", 0, RejectionReason.BAD_BOX), ("sub/1.jpeg", None, RejectionReason.MISSING_LABELS)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,x0,y0,x1\n", "no column y1"),
        ("image,x0,y0,x1,y1\na.jpg,1,2,three,4\n", "line 2: four numbers"),
        ("image,x0,y0,x1,y1\na.jpg,1,2\n", "line 2: four numbers"),
        ("image,x0,y0,x1,y1\na.jpg,5,2,4,4\n", "line 2: x0 < x1"),
        ("image,x0,y0,x1,y1\na.jpg,nan,2,4,4\n", "line 2: x0 < x1"),
        ("image,x0,y0,x1,y1\n,1,2,4,4\n", "line 2 names no image"),
        ("\xff\xfe", "no column"),
    ],
)
def test_wrong_boxes_are_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(content)
    with pytest.raises(BoxesError, match=message) as error:
        read_boxes(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", ["{}", "[1]", "[" * 100_000, '[{"image": 3}]', b"\xff"])
def test_wrong_json_is_named(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BoxesError, match=r"boxes\.json"):
        read_boxes(path)


@pytest.mark.parametrize(("width", "height"), [(400, 200), (200, 400), (300, 400), (310, 400), (33, 33)])
def test_the_network_sees_the_whole_of_a_box(width: float, height: float, tmp_path: Path) -> None:
    """Each edge of the box, marked in a photo, is among the columns that the network is given."""
    box = Box(100, 120, 100 + width, 120 + height)
    pixels = np.zeros((640, 640, 3), np.uint8)
    pixels[120 : 120 + height, 100 : 100 + width] = 255
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    (photo,), _ = read(ImageFolder(tmp_path, {"a.png": [box]}))
    (patch,) = plain_patches(photo, photo.people)
    seen, person = patch[0, :, COLUMNS_CUT:-COLUMNS_CUT] > 127, photo.people[0]
    scale = 256 / person.side
    assert seen.sum() == pytest.approx(width * height * scale**2, rel=0.05)
    assert not seen[[0, -1]].any()
    assert not seen[:, [0, -1]].any()
    assert person.side == pytest.approx(1.1 * max(width * 4 / 3, height))


def test_boxes_of_images_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("image,x0,y0,x1,y1\nwalk/2.JPG,1,2,3,4\n")
    with pytest.raises(FileNotFoundError, match=r"walk/2\.JPG"):
        ImageFolder(folder, read_boxes(path))


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No \.jpg"):
        ImageFolder(tmp_path)


def test_bad_images_are_recorded(folder: Path) -> None:
    whole = photo_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "gif.jpg").write_bytes(encoded(Image.new("RGB", (8, 8)), "GIF"))
    photos, rejections = read(ImageFolder(folder))
    assert len(photos) == 3
    assert {r.key for r in rejections} == {"cut.jpg", "empty.png", "gif.jpg"}
    assert {r.reason for r in rejections} == {RejectionReason.UNDECODABLE_PHOTO}


def test_an_image_of_absurd_size_is_refused_unread(folder: Path) -> None:
    bomb = encoded(Image.new("1", (20_000, 6_000)), "PNG")
    (folder / "bomb.png").write_bytes(bomb)
    _, rejections = read(ImageFolder(folder))
    assert [(r.key, r.reason) for r in rejections] == [("bomb.png", RejectionReason.TOO_LARGE)]


def test_a_plain_jpeg_is_handed_on() -> None:
    assert upright_jpeg(photo_bytes()) == photo_bytes()


def test_phones_turn_their_images() -> None:
    """EXIF orientation 6: to be turned by 90 degrees clockwise."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    found = simplejpeg.decode_jpeg(upright_jpeg(encoded(Image.fromarray(pixels), "JPEG", exif=exif)))
    assert found.shape == (64, 32, 3)
    assert found[:28].mean() > 250
    assert found[36:].mean() < 5


def test_a_turned_image_keeps_what_it_says_of_its_lens_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make] = 6, "a phone"
    tags = {Base.FocalLengthIn35mmFilm: 26, Base.ExifImageWidth: 64, Base.ExifImageHeight: 32, Base.ISOSpeedRatings: 9}
    exif.get_ifd(IFD.Exif).update({int(tag): value for tag, value in tags.items()})
    packed = upright_jpeg(encoded(Image.new("RGB", (64, 32)), "JPEG", exif=exif))
    assert focal_from_exif(packed, 32, 64) == pytest.approx(26 / np.hypot(36, 24) * np.hypot(32, 64))
    with Image.open(io.BytesIO(packed)) as image:
        assert set(image.getexif().keys()) == {IFD.Exif}
        assert Base.ISOSpeedRatings not in image.getexif().get_ifd(IFD.Exif)


@pytest.mark.parametrize("focal", ["wide", 0, 2**16 - 1])
def test_a_turned_image_that_lies_about_its_lens_is_an_image_all_the_same(focal: object) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = focal
    packed = upright_jpeg(encoded(Image.new("RGB", (64, 32)), "JPEG", exif=exif))
    assert simplejpeg.decode_jpeg(packed).shape == (64, 32, 3)
    assert focal_from_exif(packed, 32, 64) is None


@pytest.mark.parametrize(
    ("image", "grey"),
    [
        (Image.new("RGBA", (16, 16), (0, 0, 0, 0)), 255),
        (Image.new("L", (16, 16), 90), 90),
        (Image.fromarray(np.full((16, 16), 90 << 8, np.uint16)), 90),
        (Image.new("P", (16, 16)), 0),
    ],
    ids=["transparent", "grey", "16 bits", "palette"],
)
def test_other_kinds_of_png(image: Image.Image, grey: int) -> None:
    found = simplejpeg.decode_jpeg(upright_jpeg(encoded(image, "PNG")))
    assert found.shape == (16, 16, 3)
    assert np.abs(found.astype(int) - grey).max() <= 2
