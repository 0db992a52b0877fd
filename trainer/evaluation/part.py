"""A part of an evaluation set, small enough for one batch of a network, and who of it can be evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64, UInt8

from pipeline.shards.jpeg import BadPhotoError
from pipeline.shards.person_record import MAX_SIDE_PER_PHOTO, MIN_SIDE_PX
from schemas.keypoints import PELVIS
from schemas.person import Rejection, RejectionReason
from trainer.evaluation.crops import Pixels, crop_sides, cut_crop, read_photo
from trainer.evaluation.evaluation_set import EvaluationSet
from trainer.evaluation.protocols import Protocol
from trainer.evaluation.scores import MIN_CONFIDENCE_2D, SCORED_3D

_LARGEST: Final = 1e6  # px, m, rad or standard deviations of a truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """dataset: its name in tables; numbers: places of these people in the file; images: the folder of photos."""

    dataset: str
    protocol: Protocol
    images: Path
    numbers: range
    people: EvaluationSet


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadablePeople:
    """N people with crops. numbers: their places in the file; side (N,) px; photo_size (N, 2): width and height."""

    numbers: list[int]
    people: EvaluationSet
    side: Float64[np.ndarray, "N"]
    photo_size: list[tuple[int, int]]
    patches: UInt8[np.ndarray, "N 3 256 256"]
    rejections: list[Rejection]


class _RefusedPersonError(ValueError):
    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def readable_people(part: Part) -> ReadablePeople:
    """Crops of everyone who has a photo, a box and a truth; the others are rejected, each with the reason.

    A photo is decoded once for people who follow one another.
    """
    people, sides = part.people, crop_sides(part.people.size)
    kept: list[int] = []
    sizes: list[tuple[int, int]] = []
    patches: list[np.ndarray] = []
    rejections: list[Rejection] = []
    for place, photo in _with_photos(part):
        try:
            if isinstance(photo, BadPhotoError):
                raise _RefusedPersonError(photo.reason, str(photo))
            size = photo.shape[1], photo.shape[0]
            _check_box(people.center[place], people.size[place], sides[place], size)
            _check_truth(people, place, part.protocol)
        except _RefusedPersonError as refused:
            rejections.append(rejection(part, place, refused.reason, str(refused)))
            continue
        kept.append(place)
        sizes.append(size)
        patches.append(cut_crop(photo, people.center[place], float(sides[place]), part.protocol.crop))
    return ReadablePeople(
        numbers=[part.numbers[place] for place in kept],
        people=people.rows(kept),
        side=sides[kept],
        photo_size=sizes,
        patches=np.stack(patches) if patches else np.zeros((0, 3, 256, 256), np.uint8),
        rejections=rejections,
    )


def rejection(part: Part, place: int, reason: RejectionReason, detail: str) -> Rejection:
    """Of the person at this place of the part."""
    image, number = part.people.images[place], part.numbers[place]
    return Rejection(dataset=part.dataset, shard="", key=image, person=number, reason=reason, detail=detail)


def _with_photos(part: Part) -> Iterator[tuple[int, Pixels | BadPhotoError]]:
    last, photo = None, None
    for place, name in enumerate(part.people.images):
        if photo is None or name != last:
            try:
                photo = read_photo(part.images, name)
            except BadPhotoError as error:
                photo = error
            last = name
        yield place, photo


def _check_box(center: np.ndarray, size: np.ndarray, side: float, photo_size: tuple[int, int]) -> None:
    if not (np.isfinite(center).all() and np.isfinite(size).all() and (size > 0).all()):
        raise _RefusedPersonError(
            RejectionReason.BAD_BOX, f"center {center.tolist()}, width and height {size.tolist()} px"
        )
    largest = MAX_SIDE_PER_PHOTO * max(photo_size)
    if not MIN_SIDE_PX <= side <= largest:
        raise _RefusedPersonError(
            RejectionReason.BAD_BOX, f"side {side:.4g} px, {MIN_SIDE_PX:g} to {largest:g} allowed"
        )
    if np.abs(center).max() > largest:
        raise _RefusedPersonError(RejectionReason.BAD_BOX, f"center {center.tolist()} is far from the photo")


def _check_truth(people: EvaluationSet, place: int, protocol: Protocol) -> None:
    if protocol.truth == "keypoints_2d":
        points = people.keypoints_2d[place]
        confident = points[~(points[:, 2] <= MIN_CONFIDENCE_2D)]  # those without a confidence too
        _check_numbers(confident, RejectionReason.KEYPOINTS_NOT_FINITE, "2D keypoints")
    elif protocol.truth == "keypoints_3d" and not _from_smpl(people, place, protocol):
        points = people.keypoints_3d[place, [*SCORED_3D, PELVIS], :3]
        _check_numbers(points, RejectionReason.KEYPOINTS_NOT_FINITE, "3D keypoints")
        if not points.any():
            raise _RefusedPersonError(RejectionReason.MISSING_LABELS, "all 3D keypoints are zero")
    else:
        for values in (people.pose[place], people.betas[place]):
            _check_numbers(values, RejectionReason.SMPL_NOT_FINITE, "SMPL parameters")


def _check_numbers(values: np.ndarray, reason: RejectionReason, what: str) -> None:
    if not (np.abs(values) <= _LARGEST).all():
        raise _RefusedPersonError(reason, f"{what} hold NaN, infinity or more than {_LARGEST:g}")


def _from_smpl(people: EvaluationSet, place: int, protocol: Protocol) -> bool:
    return protocol.smpl_in_place and bool(people.has_smpl[place]) and not people.keypoints_3d[place].any()


def truth_from_smpl(people: EvaluationSet, protocol: Protocol) -> list[bool]:
    """Of each person, whether the 3D keypoints are made of SMPL parameters, for want of any."""
    return [_from_smpl(people, place, protocol) for place in range(len(people))]
