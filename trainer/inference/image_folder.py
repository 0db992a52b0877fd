"""A folder of JPEG and PNG images as the photos that a shard would give: upright, checked, with a box per person."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import IFD, Base

from pipeline.shards import person_record
from pipeline.shards.jpeg import MAX_PIXELS, BadPhotoError, check_jpeg
from pipeline.shards.person_record import RefusedPersonError, check_person
from pipeline.shards.reader import MAX_JPEG_BYTES
from schemas.keypoints import N_KEYPOINTS
from schemas.person import Person, PersonId, Photo, Rejection, RejectionReason
from trainer.inference.boxes import Box

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})
_ORIENTATION_TAG: Final = 0x0112
_LENS_TAGS: Final = (Base.FocalLengthIn35mmFilm, Base.ExifImageWidth, Base.ExifImageHeight)
_JPEG_QUALITY: Final = 98


class ImageFolder:
    """Images below `folder`, in the order of their names ("2.jpg" before "10.jpg"); hidden files are left out.

    boxes: tight person boxes by path below the folder. Without boxes the whole image is taken for one person.
    As photos of a shard: dataset is the folder's name, shard is "", key is the path below the folder.
    fps: the images are successive frames of a video, and the n-th person of each is the same one.
    """

    def __init__(
        self, folder: Path, boxes: Mapping[str, Sequence[Box]] | None = None, *, fps: float | None = None
    ) -> None:
        """Raises FileNotFoundError when there are no images, or boxes for images that are not there."""
        self._folder, self._boxes, self._fps = folder.absolute(), boxes, fps
        paths = (path for path in self._folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        names = [path.relative_to(self._folder).as_posix() for path in paths]
        self.names = sorted((n for n in names if not n.startswith(".") and "/." not in n), key=_natural)
        if not self.names:
            raise FileNotFoundError(f"No .jpg, .jpeg or .png below {folder}. Give the folder that holds the images.")
        known = set(self.names)
        lost = [name for name in boxes or () if name not in known]
        if lost:
            shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            raise FileNotFoundError(
                f"{len(lost)} images in the file of boxes are not below {folder}: {shown}. Paths there are relative "
                "to the folder of images."
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Photo | Rejection]:
        """Photos, each preceded by the rejections of its people; never an exception for a bad image."""
        for frame, name in enumerate(self.names):
            yield from self._read(name, frame)

    def _read(self, name: str, frame: int) -> Iterator[Photo | Rejection]:
        if not name.isprintable():  # also names that are not UTF-8
            yield self._rejection(ascii(name)[1:-1], None, RejectionReason.UNSAFE_NAME, "rename the file")
            return
        try:
            jpeg = upright_jpeg(_content(self._folder / name))
            width, height = check_jpeg(jpeg)
        except BadPhotoError as error:
            yield self._rejection(name, None, error.reason, str(error))
            return
        people: list[Person] = []
        for index, (center, side) in enumerate(self._crops(name, width, height)):
            try:
                record = person_record(
                    keypoints_2d=np.zeros((N_KEYPOINTS, 3)),
                    center=center,
                    scale=(side / 200, side / 200),
                    track=None if self._fps is None else (f"person{index}", frame),
                    fps=self._fps,
                )
                person_id = PersonId(self._folder.name, "", name, index)
                people.append(check_person(record, person_id, (width, height)).person)
            except RefusedPersonError as error:
                yield self._rejection(name, index, error.reason, str(error))
        if self._boxes is not None and name not in self._boxes:
            yield self._rejection(name, None, RejectionReason.MISSING_LABELS, "the file of boxes has none for it")
        yield Photo(key=name, jpeg=jpeg, width=width, height=height, people=tuple(people))

    def _crops(self, name: str, width: int, height: int) -> list[tuple[tuple[float, float], float]]:
        """Centre and side, px, of each person's crop."""
        if self._boxes is None:
            return [(((width - 1) / 2, (height - 1) / 2), float(max(width, height)))]
        return [(box.center, box.crop_side) for box in self._boxes.get(name, ())]

    def _rejection(self, name: str, person: int | None, reason: RejectionReason, detail: str) -> Rejection:
        return Rejection(dataset=self._folder.name, shard="", key=name, person=person, reason=reason, detail=detail)


def upright_jpeg(data: bytes) -> bytes:
    """The image as JPEG, turned as its EXIF data says. A plain JPEG is handed on; others are packed anew (quality 98).

    Transparent parts become white. Raises BadPhotoError.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                detail = f"{image.width} x {image.height} px, at most {MAX_PIXELS} px in all"
                raise BadPhotoError(RejectionReason.TOO_LARGE, detail)
            plain = image.mode in {"RGB", "L"} and image.getexif().get(_ORIENTATION_TAG, 1) == 1
            return data if image.format == "JPEG" and plain else _packed(image)
    except BadPhotoError:
        raise
    except Exception as error:  # Pillow raises nearly any type for broken bytes
        detail = f"no readable JPEG or PNG: {type(error).__name__}: {error}"
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, detail) from error


def _packed(image: Image.Image) -> bytes:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    if upright.mode.startswith("I"):  # 16 bits a channel: convert() would cut off instead of scaling
        upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    packed = io.BytesIO()
    upright.convert("RGB").save(packed, "JPEG", quality=_JPEG_QUALITY, subsampling=0, exif=_lens_tags(image))
    return packed.getvalue()


def _lens_tags(image: Image.Image) -> Image.Exif:
    """What the image's EXIF data say of its lens, and nothing else of them: numbers, none where they are broken."""
    kept = Image.Exif()
    try:
        stated = image.getexif().get_ifd(IFD.Exif)
        numbers = {int(tag): int(stated[tag]) for tag in _LENS_TAGS if tag in stated}
    except Exception:  # hostile metadata make Pillow raise nearly any type: they are no metadata
        return kept
    kept.get_ifd(IFD.Exif).update({tag: value for tag, value in numbers.items() if 0 < value <= 0xFFFF})
    return kept


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_JPEG_BYTES:
            raise BadPhotoError(RejectionReason.TOO_LARGE, f"{size} bytes, at most {MAX_JPEG_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise BadPhotoError(RejectionReason.UNDECODABLE_PHOTO, f"cannot be read: {error}") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key in which numbers count as numbers."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (0, part) for part in re.split(r"(\d+)", name)]
