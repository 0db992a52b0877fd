"""One made-up photo: people placed on a canvas under their crop cameras, drawn, and seen by the made-up detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from pipeline.demo_set.appearance import BodyMap, cast_shadow, dress, random_background, random_light, through_a_camera
from pipeline.demo_set.crop_fit import project_to_crop
from pipeline.demo_set.detector import detect_keypoints, detect_keypoints_3d, meant_places, measured_errors
from pipeline.render import PinholeCamera, render

Array = NDArray[np.float64]
UInt8Array = NDArray[np.uint8]

HIDDEN_BEHIND_M: Final = 0.12
"""A keypoint this far behind the surface is hidden; joints lie up to this deep in their own limb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A posed person in the crop camera (with cam_t): vertices (V, 3) m, keypoints (44, 3) m; see CropFit."""

    vertices: Float[np.ndarray, "V 3"]
    keypoints: Float[np.ndarray, "44 3"]
    fill: float
    aspect: Float[np.ndarray, "2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoCrop:
    """A person's square crop on the photo: center (2,) px, side px."""

    center: Float[np.ndarray, "2"]
    side: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a data set says of a person: keypoints_2d (44, 3) px and confidence, keypoints_3d (44, 4) m, the box."""

    keypoints_2d: Float[np.ndarray, "44 3"]
    keypoints_3d: Float[np.ndarray, "44 4"]
    center: Float[np.ndarray, "2"]
    scale: Float[np.ndarray, "2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """The picture (H, W, 3) uint8 and the people in it, in the order they were given."""

    image: UInt8[np.ndarray, "H W 3"]
    sightings: list[Sighting]


def take_photo(
    rng: np.random.Generator, figures: Sequence[Figure], faces: Int[np.ndarray, "F 3"], body: BodyMap
) -> Photo:
    """Place 1-3 people in a made-up place, draw each over those before it, and report what a detector sees."""
    width, height, crops = _lay_out(rng, figures)
    canvas, light = random_background(rng, width, height), random_light(rng)
    depths: list[NDArray[np.float32]] = []
    covers: list[NDArray[np.bool_]] = []
    for figure, crop in zip(figures, crops, strict=True):
        camera = PinholeCamera.of_crop(crop.center, crop.side, width, height)
        if rng.random() < 0.8:
            pixels = camera.project(figure.vertices)
            canvas = cast_shadow(canvas, pixels[np.argmax(pixels[:, 1])], crop.side)
        drawn = render(figure.vertices, faces, dress(rng, body), camera, background=canvas, light=light)
        canvas = drawn.image
        depths.append(drawn.depth)
        covers.append(drawn.mask)
    sightings = []
    for k, (figure, crop) in enumerate(zip(figures, crops, strict=True)):
        in_front = np.logical_or.reduce(covers[k + 1 :], axis=0) if k + 1 < len(covers) else np.zeros_like(covers[k])
        sightings.append(_see(rng, figure, crop, depths[k], in_front))
    return Photo(image=through_a_camera(rng, canvas), sightings=sightings)


def _lay_out(rng: np.random.Generator, figures: Sequence[Figure]) -> tuple[int, int, list[PhotoCrop]]:
    """Size of the photo (width, height) px and the people's places, side by side; some are cut by its border."""
    people = len(figures)
    height = 16 * int(rng.integers(16, 21))
    width = 16 * int(rng.integers(16, 21)) + (people - 1) * 48
    crops = []
    for k, figure in enumerate(figures):
        longest = min(width / people * 1.3, height) * rng.uniform(0.62, 0.95)
        center = np.array([(k + 0.5 + rng.uniform(-0.1, 0.1)) / people * width, height * rng.uniform(0.46, 0.56)])
        if rng.random() < 0.1:
            longest = height * rng.uniform(0.95, 1.25)
            center += longest * rng.uniform(-0.22, 0.22, 2)
        crops.append(PhotoCrop(center=center.astype(np.float32).astype(float), side=_float32(longest / figure.fill)))
    return width, height, crops


def _float32(value: float) -> float:
    """As the shard will hold it, so that drawing and reading use the same crop."""
    return float(np.float32(value / 200)) * 200


def _see(
    rng: np.random.Generator, figure: Figure, crop: PhotoCrop, depth: NDArray[np.float32], in_front: NDArray[np.bool_]
) -> Sighting:
    errors = measured_errors()
    true_crop = project_to_crop(meant_places(figure.keypoints[None], errors)[0])
    pixels = crop.center + crop.side * true_crop
    height, width = depth.shape
    inside = np.asarray(((pixels >= -0.5) & (pixels < np.array([width, height]) - 0.5)).all(axis=1))
    column, row = np.clip(np.rint(pixels), 0, [width - 1, height - 1]).astype(int).T
    visible = (figure.keypoints[:, 2] < depth[row, column] + HIDDEN_BEHIND_M) & ~in_front[row, column]
    points, present = detect_keypoints(rng, true_crop, visible, inside, errors)
    points_3d = detect_keypoints_3d(rng, figure.keypoints, points, present)
    on_photo = np.where(present[:, None], crop.center + crop.side * points[:, :2], 0.0)
    return Sighting(
        keypoints_2d=np.column_stack([on_photo, points[:, 2]]),
        keypoints_3d=points_3d,
        center=crop.center,
        scale=crop.side * figure.aspect / 200,
    )
