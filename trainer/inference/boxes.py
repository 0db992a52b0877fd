"""Person boxes of a folder of images, from a CSV or JSON file: image, x0, y0, x1, y1."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.image.crop import CROP_PX
from trainer.network.vit import COLUMNS_CUT

BOX_MARGIN: Final = 1.1
"""Crop side over the longer side of a tight box, as in the training shards of HMR2 and HSMR."""
_SEEN_WIDTH: Final = 1 - 2 * COLUMNS_CUT / CROP_PX  # of a crop's: the network leaves out columns on both sides

COLUMNS: Final = ("image", "x0", "y0", "x1", "y1")
MAX_FILE_BYTES: Final = 2**30
_FORM = "Expected CSV with the columns image,x0,y0,x1,y1 or a JSON list of objects with these names."


class Box(NamedTuple):
    """A tight box around a person: left, top, right, bottom, px of the upright image."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def crop_side(self) -> float:
        """Of the square crop in which the network sees the whole box, px: the box is widened to 192:256 first, as demo
        and evaluation of HMR2 and HSMR do, though their training does not.
        """
        return BOX_MARGIN * max((self.x1 - self.x0) / _SEEN_WIDTH, self.y1 - self.y0)


class BoxesError(ValueError):
    """The file of boxes cannot be used; the message names the line and what is expected there."""


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Boxes by image, in the file's order, which numbers the people; images are paths below the folder of images.

    Raises BoxesError, FileNotFoundError.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BoxesError(f"{path} has more than {MAX_FILE_BYTES} bytes: run the images in parts.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark there
        records = _json(text) if path.suffix.lower() == ".json" else _csv(text)
        boxes: dict[str, list[Box]] = {}
        for place, record in records:
            boxes.setdefault(_image(place, record), []).append(_box(place, record))
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise BoxesError(f"{path} cannot be read: {error}. {_FORM}") from error
    except BoxesError as error:
        raise BoxesError(f"{path}: {error}") from None
    return boxes


def _csv(text: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise BoxesError(f"no column {', '.join(missing)} in the first line. {_FORM}")
    return ((f"line {reader.line_num}", record) for record in reader)


def _json(text: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    records = json.loads(text)
    if not isinstance(records, list):
        raise BoxesError(f"it holds a {type(records).__name__}. {_FORM}")
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise BoxesError(f"entry {number} is a {type(record).__name__}. {_FORM}")
        yield f"entry {number}", record


def _image(place: str, record: Mapping[str, Any]) -> str:
    image = record.get("image")
    if not isinstance(image, str) or not image:
        raise BoxesError(f"{place} names no image. {_FORM}")
    return image.replace("\\", "/").removeprefix("./")


def _box(place: str, record: Mapping[str, Any]) -> Box:
    try:
        box = Box(*(float(record[name]) for name in COLUMNS[1:]))
    except (KeyError, TypeError, ValueError, OverflowError):
        met = ", ".join(repr(record.get(name))[:40] for name in COLUMNS[1:])
        raise BoxesError(f"{place}: four numbers x0, y0, x1, y1 expected, met {met}") from None
    if not all(map(math.isfinite, box)) or box.x1 <= box.x0 or box.y1 <= box.y0:
        raise BoxesError(f"{place}: x0 < x1 and y0 < y1 expected, in px, met {tuple(box)}")
    return box
