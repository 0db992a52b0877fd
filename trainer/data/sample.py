"""One person ready for a batch: the patch, the crop it was cut with, and what was read of the person."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from pipeline.image.crop import CROP_PX
from schemas.person import Person, PersonId, Photo
from trainer.data.augmentation import Augmentation, augmented_crop, no_augmentation
from trainer.data.decode import dct_factor, decode_photo
from trainer.data.patch import CropTransform, cut_patch

AugmentationOf = Callable[[PersonId], Augmentation]


class AugmentationOfDraw(Protocol):
    """Of a person who is drawn for the `number`-th time, from 0."""

    def __call__(self, id: PersonId, number: int) -> Augmentation: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """patch (3, 256, 256) RGB uint8; person as read, in photo px; the label row comes beside it in the batch."""

    person: Person
    augmentation: Augmentation
    transform: CropTransform
    patch: UInt8[np.ndarray, "3 256 256"]


def cut_people(photo: Photo, people: Sequence[Person], augmentation_of: AugmentationOf) -> list[Sample]:
    """The crops of people of one photo, decoded once at the size that the largest demand needs.

    Raises DamagedPhotoError.
    """
    drawn = [augmentation_of(person.id) for person in people]
    crops = [augmented_crop(a, p.keypoints_2d, p.center, p.side) for a, p in zip(drawn, people, strict=True)]
    factor = dct_factor(crop.crop_px_per_photo_px for crop in crops)
    picture = decode_photo(photo.jpeg, (photo.width, photo.height), factor)
    return [
        Sample(person=person, augmentation=augmentation, transform=crop, patch=cut_patch(picture, crop))
        for person, augmentation, crop in zip(people, drawn, crops, strict=True)
    ]


def plain_patches(photo: Photo, people: Sequence[Person]) -> UInt8[np.ndarray, "N 3 256 256"]:
    """The person crops (N, 3, 256, 256) RGB without augmentation, as prediction and validation see them.

    Raises DamagedPhotoError when the photo was not checked on reading and does not decode.
    """
    if not people:
        return np.zeros((0, 3, CROP_PX, CROP_PX), np.uint8)
    return np.stack([sample.patch for sample in cut_people(photo, people, no_augmentation)])
