"""The cameras that take the made-up photos, and what the data set will know of them."""

from dataclasses import dataclass
from math import cos, hypot, log, sin
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pipeline.image.person_camera import photo_points
from schemas.camera import FILM_DIAGONAL_MM, CameraSource, Lens

KNOWN_AS: Final = (CameraSource.CALIBRATION, CameraSource.EXIF, CameraSource.PRIOR)
"""Equally many photos come with the whole lens in the shard, with EXIF, and with nothing."""
FOCAL_MM: Final = (28.0, 85.0)
"""Equivalents on 35 mm film: from a phone to a portrait lens; every ratio is equally likely."""
SHAPES: Final = (2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2)
"""Width over height of a photo."""

_TILT_RAD: Final = (0.06, np.deg2rad(12))  # mean, looking down a little as photographers do, and standard deviation
_MOST_TILT_RAD: Final = np.deg2rad(35)
_OFF_CENTRE = 0.01  # of the diagonal: how far the principal point of every third camera lies off the middle


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoCamera:
    """A true camera. lens: its source says what the data set knows of it; from_level (3, 3): axes of a level camera at
    the same place, looking the same way, to its own; width and height px.
    """

    lens: Lens
    from_level: Float[np.ndarray, "3 3"]
    width: int
    height: int

    @property
    def focal_mm(self) -> float:
        """The equivalent focal length on 35 mm film, by the diagonal."""
        return self.lens.focal_px / hypot(self.width, self.height) * FILM_DIAGONAL_MM


def sample_cameras(rng: np.random.Generator, people: list[int]) -> list[PhotoCamera]:
    """One camera for each photo of so many people."""
    known = rng.permutation(np.arange(len(people)) % len(KNOWN_AS))
    return [_sample_camera(rng, count, KNOWN_AS[which]) for count, which in zip(people, known, strict=True)]


def before_a_pinhole(lens: Lens, places: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 3"]:
    """Places in the photo camera's axes, moved sideways so that a lens without distortion sees them where `lens` does.

    For a renderer that draws straight edges: exact at the vertices.
    """
    flat = (photo_points(lens, places) - lens.principal_point) / lens.focal_px
    return np.column_stack([flat * places[:, 2:], places[:, 2]])


def _sample_camera(rng: np.random.Generator, people: int, known: CameraSource) -> PhotoCamera:
    height = 16 * int(rng.integers(16, 21))
    width = 16 * round(height * float(rng.choice(SHAPES)) / 16) + (people - 1) * 48
    diagonal = hypot(width, height)
    focal_mm = np.exp(rng.uniform(log(FOCAL_MM[0]), log(FOCAL_MM[1])))
    off = rng.normal(0.0, _OFF_CENTRE * diagonal, 2) * (rng.random() < 1 / 3)
    distortion = _sample_distortion(rng)
    lens = Lens(
        focal_px=float(np.float32(focal_mm / FILM_DIAGONAL_MM * diagonal)),
        principal_point=_float32(np.array([width / 2, height / 2]) + off),
        distortion=_float32(distortion if known is CameraSource.CALIBRATION else np.zeros(4)),
        source=known,
    )
    tilt = float(np.clip(rng.normal(*_TILT_RAD), -_MOST_TILT_RAD, _MOST_TILT_RAD))
    return PhotoCamera(lens=lens, from_level=_tilted(tilt), width=width, height=height)


def _sample_distortion(rng: np.random.Generator) -> NDArray[np.float64]:
    """(4,) of Brown's model; every second lens has none. Mild: still one to one at twice a wide photo's corner."""
    values = np.array([rng.uniform(-0.08, 0.04), rng.uniform(-0.004, 0.004), *rng.normal(0.0, 0.001, 2)])
    return values * (rng.random() < 0.5)


def _tilted(angle: float) -> NDArray[np.float64]:
    """(3, 3) axes of a level camera to those of one that looks down by this angle, rad."""
    return np.array([[1.0, 0.0, 0.0], [0.0, cos(angle), -sin(angle)], [0.0, sin(angle), cos(angle)]])


def _float32(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """As a shard holds them."""
    return values.astype(np.float32).astype(np.float64)
