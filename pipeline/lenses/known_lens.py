"""The lens of every photo: what its shard says, else the calibration file, else EXIF, else the usual focal length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import hypot
from typing import Final, Literal

import numpy as np

from pipeline.lenses.calibration import Calibration
from pipeline.lenses.exif import focal_from_exif
from schemas.camera import CameraSource, Lens
from schemas.person import Person, Photo

CameraMode = Literal["auto", "hsmr"]

USUAL_FOCAL: Final = 1.0
"""Of the photo's diagonal: a normal lens, 43 mm of 35 mm film. Between a phone's 26 mm and a portrait's 85 mm it is
within a factor of two of nearly every photo of people, which costs little (docs/real_truth.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLenses:
    """How people get their cameras. `hsmr`: nobody's is known, whatever the inputs say, as in HSMR's training."""

    mode: CameraMode = "auto"
    calibration: Calibration = field(default_factory=Calibration)

    def of(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        """The photos, their people with the lens that is best known for each."""
        for photo in photos:
            yield replace(photo, people=self._people(photo))

    def _people(self, photo: Photo) -> tuple[Person, ...]:
        if self.mode == "hsmr":
            return tuple(replace(person, lens=None) for person in photo.people)
        if all(person.lens is not None for person in photo.people):
            return photo.people
        known = self._of_photo(photo)
        return tuple(person if person.lens is not None else replace(person, lens=known) for person in photo.people)

    def _of_photo(self, photo: Photo) -> Lens:
        camera = self.calibration.of_photo(photo.people[0].id.dataset, photo.key)
        if camera is not None:
            return camera.lens(photo.width, photo.height)
        focal = focal_from_exif(photo.jpeg, photo.width, photo.height)
        if focal is not None:
            return centred_lens(focal, photo.width, photo.height, CameraSource.EXIF)
        usual = USUAL_FOCAL * hypot(photo.width, photo.height)
        return centred_lens(usual, photo.width, photo.height, CameraSource.PRIOR)


def centred_lens(focal_px: float, width: int, height: int, source: CameraSource) -> Lens:
    """A lens without distortion that looks at the middle of a photo of this size, px."""
    return Lens(focal_px=focal_px, principal_point=np.array([width / 2, height / 2]), source=source)
