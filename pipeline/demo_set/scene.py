"""One made-up photo: people before its camera, drawn through its lens, and seen by the made-up detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from pipeline.demo_set.appearance import BodyMap, cast_shadow, dress, random_background, through_a_camera
from pipeline.demo_set.detector import detect_keypoints, detect_keypoints_3d, meant_places, measured_errors
from pipeline.demo_set.photo_cameras import PhotoCamera, before_a_pinhole
from pipeline.demo_set.placement import Place
from pipeline.demo_set.surroundings import Outlook, Surroundings
from pipeline.image.person_camera import photo_points
from pipeline.render import Light, PinholeCamera, render, vertex_normals

HIDDEN_BEHIND_M: Final = 0.12
"""A keypoint this far behind the surface is hidden; joints lie up to this deep in their own limb."""

_AS_PAINTED: Final = Light(ambient=1.0, diffuse=0.0)  # the light is in the colours


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A posed person in the photo camera's axes: vertices (V, 3) m, keypoints (44, 3) m, and where they stand."""

    vertices: Float[np.ndarray, "V 3"]
    keypoints: Float[np.ndarray, "44 3"]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What is seen of a person: keypoints_2d (44, 3) px and confidence; keypoints_3d (44, 4) m and confidence, in the
    axes of the crop camera; the box's center (2,) px and scale (2,), its sides / 200.
    """

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
    rng: np.random.Generator,
    camera: PhotoCamera,
    figures: Sequence[Figure],
    faces: Int[np.ndarray, "F 3"],
    body: BodyMap,
    places: Sequence[Surroundings],
) -> Photo:
    """Draw 1-3 people in one of these places, each over those before it, and report what a detector sees.

    In every third photo the place only lights them, and what is behind them is made up.
    """
    place, heading = places[int(rng.integers(len(places)))], float(rng.uniform(-np.pi, np.pi))
    outlook = Outlook(place=place, heading=heading, camera=camera)
    made_up = rng.random() < 1 / 3
    canvas = random_background(rng, camera.width, camera.height) if made_up else outlook.background()
    pinhole = PinholeCamera.of_lens(camera.lens, camera.width, camera.height)
    depths: list[NDArray[np.float32]] = []
    covers: list[NDArray[np.bool_]] = []
    for figure in figures:
        if rng.random() < 0.8:
            pixels = photo_points(camera.lens, figure.vertices)
            canvas = cast_shadow(canvas, pixels[np.argmax(pixels[:, 1])], figure.place.side)
        seen = before_a_pinhole(camera.lens, figure.vertices)
        colors = dress(rng, body) * outlook.shading(vertex_normals(figure.vertices, faces))
        drawn = render(seen, faces, colors, pinhole, background=canvas, light=_AS_PAINTED)
        canvas = drawn.image
        depths.append(drawn.depth)
        covers.append(drawn.mask)
    sightings = []
    for k, figure in enumerate(figures):
        in_front = np.logical_or.reduce(covers[k + 1 :], axis=0) if k + 1 < len(covers) else np.zeros_like(covers[k])
        sightings.append(_see(rng, camera, figure, depths[k], in_front))
    return Photo(image=through_a_camera(rng, canvas), sightings=sightings)


def _see(
    rng: np.random.Generator,
    camera: PhotoCamera,
    figure: Figure,
    depth: NDArray[np.float32],
    in_front: NDArray[np.bool_],
) -> Sighting:
    """The detector looks at the crop as it is cut from the photo: its errors are px of the photo, not angles."""
    place, errors = figure.place, measured_errors()
    pixels = photo_points(camera.lens, meant_places(figure.keypoints[None], errors)[0])
    height, width = depth.shape
    inside = np.asarray(((pixels >= -0.5) & (pixels < np.array([width, height]) - 0.5)).all(axis=1))
    column, row = np.clip(np.rint(pixels), 0, [width - 1, height - 1]).astype(int).T
    visible = (figure.keypoints[:, 2] < depth[row, column] + HIDDEN_BEHIND_M) & ~in_front[row, column]
    points, present = detect_keypoints(rng, (pixels - place.center) / place.side, visible, inside, errors)
    points_3d = detect_keypoints_3d(rng, figure.keypoints @ place.camera.rotation, points, present)
    on_photo = np.where(present[:, None], place.center + place.side * points[:, :2], 0.0)
    return Sighting(
        keypoints_2d=np.column_stack([on_photo, points[:, 2]]),
        keypoints_3d=points_3d,
        center=place.center,
        scale=place.side * place.aspect / 200,
    )
