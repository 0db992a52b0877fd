"""Where made-up people stand before a photo's camera, and their crops as boxes around them give them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pipeline.demo_set.photo_cameras import PhotoCamera
from pipeline.image.person_camera import PersonCamera, person_camera, photo_points
from schemas.camera import Lens

Array = NDArray[np.float64]

BOX_MARGIN: Final = 1.1
"""A person box is this many times the tight box around the person, give or take what boxers err."""
NEAREST_M: Final = 0.7
"""No part of a body comes nearer to the camera's plane, however large the photo wants the person."""

_STEPS: Final = 12
_EVERY: Final = 5  # of the vertices is enough to find a place by; the box is taken around all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """pelvis (3,) m: where joint 0 is, in the photo camera's axes. The square crop, center (2,) px and side px, as a
    shard holds it; aspect (2,): the box's sides over the longer; camera: the person's, for this crop.
    """

    pelvis: Float[np.ndarray, "3"]
    center: Float[np.ndarray, "2"]
    side: float
    aspect: Float[np.ndarray, "2"]
    camera: PersonCamera


def place_people(rng: np.random.Generator, camera: PhotoCamera, bodies: list[Float[np.ndarray, "V 3"]]) -> list[Place]:
    """Places side by side for bodies (V, 3) m about their pelvis, in the axes of a level camera."""
    turned = [body @ camera.from_level.T for body in bodies]
    return [_place(rng, camera, body, k, len(bodies)) for k, body in enumerate(turned)]


def _place(rng: np.random.Generator, camera: PhotoCamera, body: Array, k: int, people: int) -> Place:
    """Somewhere in the k-th part of the photo, whole if it can be; one person in ten is cut by the border."""
    size = np.array([camera.width, camera.height], float)
    longest = min(camera.width / people * 1.3, camera.height) * rng.uniform(0.62, 0.95)
    middle = size * [(k + rng.uniform(0.15, 0.85)) / people, rng.uniform(0.3, 0.7)]
    cut = rng.random() < 0.1
    if cut:
        longest = camera.height * rng.uniform(0.95, 1.25)
        middle = size * [(k + 0.5) / people, 0.5] + longest * rng.uniform(-0.22, 0.22, 2)
    pelvis = _stand(camera.lens, body, middle, longest, None if cut else size)
    return _boxed(rng, camera.lens, body, pelvis)


def _stand(lens: Lens, body: Array, middle: Array, longest: float, size: Array | None) -> Array:
    """Pelvis (3,) m at which the tight box has this middle and longer side, px; moved to lie within `size`.

    A fixed-point iteration in the depth and the sideways place, which barely depend on each other.
    """
    body = body[::_EVERY]
    depth = lens.focal_px * np.ptp(body[:, :2], axis=0).max() / longest
    place = np.array([0.0, 0.0, max(depth, NEAREST_M - body[:, 2].min())])
    for _ in range(_STEPS):
        low, high = _box(lens, body + place)
        grown = place[2] * (high - low).max() / longest
        place[:2] *= grown / place[2]
        place[2] = max(grown, NEAREST_M - body[:, 2].min())
        low, high = _box(lens, body + place)
        wanted = middle if size is None else _inside(middle, high - low, size)
        place[:2] += (wanted - (low + high) / 2) * place[2] / lens.focal_px
    return place


def _inside(middle: Array, box: Array, size: Array) -> Array:
    """The nearest middle (2,) px at which a box of these sides lies in a photo of this size, if any does."""
    return np.clip(middle, np.minimum(box / 2, size / 2), np.maximum(size - box / 2, size / 2))


def _boxed(rng: np.random.Generator, lens: Lens, body: Array, pelvis: Array) -> Place:
    low, high = _box(lens, body + pelvis)
    size = high - low
    side = _float32(size.max() * BOX_MARGIN * np.exp(rng.normal(0.0, 0.04)) / 200) * 200
    center = ((low + high) / 2 + side * rng.normal(0.0, 0.015, 2)).astype(np.float32).astype(float)
    return Place(
        pelvis=pelvis,
        center=center,
        side=side,
        aspect=size / size.max(),
        camera=person_camera(lens, center, side),
    )


def _box(lens: Lens, places: Array) -> tuple[Array, Array]:
    points = photo_points(lens, places)
    return points.min(axis=0), points.max(axis=0)


def _float32(value: float) -> float:
    """As the shard will hold it, so that drawing and reading use the same crop."""
    return float(np.float32(value))
