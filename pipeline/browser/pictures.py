"""A person's photo with keypoints, skin and bones of a label over it, drawn when it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import simplejpeg
import torch
from jaxtyping import Float, UInt8

from pipeline.body import Skel
from pipeline.render.label_overlay import camera_of
from pipeline.render.overlay import crop_square, draw_keypoints, overlay_mesh
from pipeline.render.rasterizer import PinholeCamera
from schemas.person import Person, Photo

SIZES: Final = (128, 256, 512)
LAYERS: Final = ("keypoints", "skin", "bones")
SKIN_COLOR: Final = (178.0, 204.0, 240.0)
BONE_COLOR: Final = (245.0, 235.0, 205.0)
_MARGIN: Final = 1.15  # of the person box, as in every overlay
_QUALITY: Final = 88
_SUBSAMPLES: Final = 2  # drawn by the hundred
_SKIN_ALPHA, _SKIN_ALPHA_OVER_BONES, _BONE_ALPHA = 0.85, 0.45, 0.92

Label = Mapping[str, Any]
"""One row of a label table."""


@dataclass(frozen=True, slots=True)
class Surfaces:
    """skin (6890, 3) and bones (S, 3), None for a body without: m, in the axes of the person's camera, with cam_t."""

    skin: Float[np.ndarray, "V 3"]
    bones: Float[np.ndarray, "S 3"] | None


def pose(label: Label, skel: Skel, *, bones: bool = True) -> Surfaces:
    """The body of a label."""
    vectors = (torch.as_tensor(np.array([label[name]]), dtype=skel.dtype) for name in ("q", "betas", "cam_t"))
    with_skeleton = bones and skel.arrays.skeleton is not None
    with torch.no_grad():
        found = skel(*vectors, with_skeleton=with_skeleton)
    skeleton = found.skeleton_vertices
    return Surfaces(found.skin_vertices[0].double().numpy(), None if skeleton is None else skeleton[0].double().numpy())


def draw(photo: Photo, person: Person, label: Label | None, layers: frozenset[str], skel: Skel, size: int) -> bytes:
    """JPEG of size px squared: the person's crop, and of LAYERS those asked for, as far as there is a label.

    Raises ValueError when the photo does not decode.
    """
    image, camera = _crop(photo, person, label, size)
    if label is not None and label["has_label"] and layers & {"skin", "bones"}:
        image = _with_body(image, label, layers, skel, camera)
    if "keypoints" in layers:
        image = draw_keypoints(image, _in_crop(person, size))
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=_QUALITY, colorsubsampling="420")


def _with_body(
    image: UInt8[np.ndarray, "H W 3"], label: Label, layers: frozenset[str], skel: Skel, camera: PinholeCamera
) -> UInt8[np.ndarray, "H W 3"]:
    surfaces = pose(label, skel, bones="bones" in layers)
    rotation = camera_of(label).rotation
    bones = surfaces.bones if "bones" in layers else None
    if "skin" in layers:
        alpha = _SKIN_ALPHA if bones is None else _SKIN_ALPHA_OVER_BONES
        skin, faces = surfaces.skin @ rotation.T, skel.faces.numpy()
        image = overlay_mesh(image, skin, faces, camera, alpha=alpha, color=SKIN_COLOR, subsamples=_SUBSAMPLES)
    if bones is not None:
        faces = skel.skeleton_faces.numpy()
        image = overlay_mesh(
            image, bones @ rotation.T, faces, camera, alpha=_BONE_ALPHA, color=BONE_COLOR, subsamples=_SUBSAMPLES
        )
    return image


def _crop(
    photo: Photo, person: Person, label: Label | None, size: int
) -> tuple[UInt8[np.ndarray, "size size 3"], PinholeCamera]:
    """The crop, and the camera that looks at it as the label's camera looks at the photo."""
    side = person.side * _MARGIN
    # A large photo is decoded at an eighth, a quarter or a half, while that still has the pixels of the crop.
    wanted = [max(1, int(np.ceil(length * size / side))) for length in (photo.height, photo.width)]
    image = simplejpeg.decode_jpeg(photo.jpeg, min_height=wanted[0], min_width=wanted[1], min_factor=1)
    share = image.shape[1] / photo.width
    center = (np.asarray(person.center, np.float64) + 0.5) * share - 0.5
    crop = crop_square(image, center, side * share, size)
    whole = PinholeCamera.of_label(camera_of(label), person.center, person.side, photo.width, photo.height) if (
        label is not None and label["has_label"]
    ) else PinholeCamera.of_crop(person.center, person.side, photo.width, photo.height)  # fmt: skip
    scale, corner = size / side, np.asarray(person.center, np.float64) - side / 2
    camera = PinholeCamera(
        focal=whole.focal * scale,
        center_x=(whole.center_x - corner[0]) * scale - 0.5,
        center_y=(whole.center_y - corner[1]) * scale - 0.5,
        width=size,
        height=size,
    )
    return crop, camera


def _in_crop(person: Person, size: int) -> Float[np.ndarray, "44 3"]:
    side = person.side * _MARGIN
    points = np.array(person.keypoints_2d, np.float64)
    corner = np.asarray(person.center, np.float64) - side / 2
    points[:, :2] = (points[:, :2] - corner) * (size / side) - 0.5
    return points
