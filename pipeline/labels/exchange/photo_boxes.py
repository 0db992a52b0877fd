"""Who of a shard is whom of a file that knows people by the name of their photo and the box in it.

A label goes to one person, and only where photo and box leave no doubt; nothing is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64

from schemas.person import Person

CENTRE_LIMIT: Final = 0.05
"""Of the smaller box's side, between the centres of boxes of one person. A box of 40 px that was rounded to whole px is
off by 0.02; two people whose boxes are as alike as this have one body on top of the other."""
SIDE_LIMIT: Final = 1.1
"""Ratio of the sides of boxes of one person, for the same reason. A file whose boxes were padded by another factor
matches nobody, which is seen at once; a looser bound would find the neighbour."""
RUNNER_UP: Final = 0.05
"""Overlap (intersection over union) by which the best box must be ahead of the next one, else nobody is matched."""
IMAGE_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_LARGEST_PX: Final = 1e6  # of any photo; also refuses NaN
_SHOWN: Final = 3

ImagePath = tuple[str, ...]
"""Folders and name, without the ending."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """In place of a label: the file has several that could be the person's, or one that could be several people's."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoBoxes:
    """N people of a file: images, the name of each one's photo; center (N, 2) and side (N,) px of the square box."""

    images: Sequence[str]
    center: Float64[np.ndarray, "N 2"]
    side: Float64[np.ndarray, "N"]


def image_path(name: str) -> ImagePath:
    """Folders and name of an image, either slash between them, without the ending of an image file."""
    text = name.replace("\\", "/")
    if text.lower().endswith(IMAGE_ENDINGS):
        text = text.rpartition(".")[0]
    return tuple(part for part in text.split("/") if part not in ("", "."))


class BoxIndex:
    """The people of a file, to be found by photo and box. Rows whose box is not finite or empty are nobody."""

    def __init__(self, boxes: PhotoBoxes) -> None:
        self._center, self._side = boxes.center, boxes.side
        sound = (np.abs(boxes.center) < _LARGEST_PX).all(1) & (boxes.side > 0) & (boxes.side < _LARGEST_PX)
        self._images: dict[str, dict[ImagePath, list[int]]] = {}
        for row in np.flatnonzero(sound).tolist():
            path = image_path(boxes.images[row])
            if path:
                self._images.setdefault(path[-1], {}).setdefault(path, []).append(row)
        self.unsound = int((~sound).sum())

    def find(self, people: Sequence[Person]) -> list[int | Undecided | None]:
        """The row of each of these people, who are all that their shard has; None: the file does not know them."""
        places: dict[str, list[int]] = {}
        for place, person in enumerate(people):
            places.setdefault(person.id.key, []).append(place)
        found: list[int | Undecided | None] = [None] * len(people)
        for key, image in self._photos(list(places)).items():
            rows = image if isinstance(image, Undecided) else self._images[image[-1]][image]
            own = places[key]
            answers = [rows] * len(own) if isinstance(rows, Undecided) else self._boxes([people[i] for i in own], rows)
            for place, answer in zip(own, answers, strict=True):
                found[place] = answer
        return found

    def _photos(self, keys: Sequence[str]) -> dict[str, ImagePath | Undecided]:
        """The image of each photo that the file knows.

        The name decides where one image alone has it; where several have, as many folders as both sides tell must
        agree. An image that several photos could be is none of theirs.
        """
        found: dict[str, ImagePath | Undecided] = {}
        claims: dict[ImagePath, list[str]] = {}
        by_name: dict[ImagePath, list[str]] = {}
        for key in keys:
            path = image_path(key)
            images = self._images.get(path[-1], {}) if path else {}
            agreeing = [image for image in images if _agree(image, path)]
            if len(agreeing) > 1:
                found[key] = Undecided(f"the file has {len(agreeing)} images for {key}: {_listed(agreeing)}")
            elif agreeing:
                claims.setdefault(agreeing[0], []).append(key)
            elif len(images) == 1:
                by_name.setdefault(next(iter(images)), []).append(key)
        for image, claimants in (by_name | claims).items():  # who agrees in folders, too, comes before the mere name
            for key in claimants:
                doubt = Undecided(f"{'/'.join(image)} of the file could be {len(claimants)} photos of the shard")
                found[key] = image if len(claimants) == 1 else doubt
        return found

    def _boxes(self, people: Sequence[Person], rows: Sequence[int]) -> list[int | Undecided | None]:
        """Of the people of one photo and the rows of its image, those whose boxes overlap each other best."""
        center = np.array([person.center for person in people], np.float64)
        side = np.array([person.side for person in people], np.float64)
        overlap = _overlaps(center, side, self._center[rows], self._side[rows])
        found: list[int | Undecided | None] = []
        for place, own in enumerate(overlap):
            best = int(own.argmax())
            others = np.concatenate([np.delete(own, best), np.delete(overlap[:, best], place)])
            next_best = others.max(initial=0.0)
            if own[best] <= 0:
                found.append(None)
            elif next_best > 0 and abs(own[best] - next_best) < RUNNER_UP:
                found.append(Undecided(f"boxes of the file overlap by {own[best]:.2f} and by {next_best:.2f}"))
            else:
                found.append(rows[best] if next_best < own[best] else None)  # else it is a neighbour's
        return found


def _agree(one: ImagePath, other: ImagePath) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]


def _overlaps(
    center: Float64[np.ndarray, "P 2"],
    side: Float64[np.ndarray, "P"],
    others: Float64[np.ndarray, "M 2"],
    sides: Float64[np.ndarray, "M"],
) -> Float64[np.ndarray, "P M"]:
    """Intersection over union of square boxes, 0 for those that are not of one person by the limits."""
    smaller, larger = np.minimum(side[:, None], sides), np.maximum(side[:, None], sides)
    apart = center[:, None] - others[None]
    near = (np.linalg.norm(apart, axis=2) <= CENTRE_LIMIT * smaller) & (larger <= SIDE_LIMIT * smaller)
    common = np.minimum(smaller, (smaller + larger) / 2 - np.abs(apart).max(2)).clip(0) * np.minimum(
        smaller, (smaller + larger) / 2 - np.abs(apart).min(2)
    ).clip(0)
    return np.where(near, common / (smaller**2 + larger**2 - common), 0.0)


def _listed(images: Sequence[ImagePath]) -> str:
    names = ["/".join(image) for image in images[:_SHOWN]]
    return ", ".join(names) + (", ..." if len(images) > _SHOWN else "")
