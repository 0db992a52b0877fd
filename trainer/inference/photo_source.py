"""The photos that a user names: a folder of images, a folder of shards, or shards by their pattern."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.shards import list_shards, read_shard
from schemas.input_shard import InputShard
from schemas.person import MAX_FPS, MIN_FPS, Photo, Rejection
from trainer.inference.boxes import read_boxes
from trainer.inference.image_folder import ImageFolder
from trainer.inference.inference_config import InferenceRequest


class InputError(ValueError):
    """The input cannot be used as asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class PhotoSource:
    """`items` in a fixed order; photos: how many, where that is known; what: said to the user."""

    items: Iterable[Photo | Rejection]
    photos: int | None
    what: str


def open_source(request: InferenceRequest) -> PhotoSource:
    """Raises InputError, BoxesError, FileNotFoundError or another OSError of the store."""
    if request.fps is not None and not MIN_FPS <= request.fps <= MAX_FPS:  # also refuses NaN
        raise InputError(f"--fps {request.fps:g}: frames a second, {MIN_FPS:g} to {MAX_FPS:g} expected.")
    folder = Path(request.images).expanduser()
    tars = folder.is_dir() and any(folder.glob("*.tar"))
    if not folder.is_dir() or tars:
        return _shards(request, str(folder / "*.tar") if tars else request.images)
    if request.dataset is not None:
        raise InputError("--dataset is for shards; a folder of images is called by its name.")
    boxes = None if request.boxes is None else read_boxes(request.boxes)
    images = ImageFolder(folder, boxes, fps=request.fps)
    if boxes is None:
        people = "no --boxes: EACH WHOLE IMAGE IS TAKEN FOR ONE PERSON, who should fill it"
    else:
        people = f"{sum(map(len, boxes.values()))} boxes from {request.boxes}"
    return PhotoSource(images, len(images), f"{len(images)} images below {folder}; {people}")


def _shards(request: InferenceRequest, pattern: str) -> PhotoSource:
    if request.boxes is not None:
        raise InputError("--boxes is for a folder of images; shards bring their boxes along.")
    try:
        shards = list_shards(pattern, request.dataset)
    except (FileNotFoundError, ValueError) as error:
        text = str(error).replace("the override data.shards", "--images").replace("data.shards=", "--images ")
        raise InputError(text.replace("data.dataset", "--dataset")) from error
    return PhotoSource(_read(shards), None, f"{len(shards)} shards, people and boxes from their data.pyd")


def _read(shards: list[InputShard]) -> Iterator[Photo | Rejection]:
    for info in shards:
        yield from read_shard(info)
