"""A person's photo with keypoints, skin and bones of a label over it, drawn when it is asked for."""

from typing import Final

import numpy as np
import simplejpeg
from jaxtyping import UInt8

from pipeline.body import Skel
from pipeline.render.label_overlay import CROP_MARGIN, Label, camera_of, pose
from pipeline.render.overlay import camera_of_square, crop_square, draw_keypoints, overlay_mesh, points_in_square
from pipeline.render.rasterizer import PinholeCamera
from schemas.person import Person, Photo

SIZES: Final = (128, 256, 512)
LAYERS: Final = ("keypoints", "skin", "bones")
BONE_COLOR: Final = (245.0, 235.0, 205.0)
_QUALITY: Final = 88
_SUBSAMPLES: Final = 2  # drawn by the hundred
_SKIN_ALPHA, _SKIN_ALPHA_OVER_BONES, _BONE_ALPHA = 0.85, 0.45, 0.92


def draw(photo: Photo, person: Person, label: Label | None, layers: frozenset[str], skel: Skel, size: int) -> bytes:
    """JPEG of size px squared: the person's crop, and of LAYERS those asked for, as far as there is a label.

    Raises ValueError when the photo does not decode.
    """
    image, camera = _crop(photo, person, label, size)
    if label is not None and label["has_label"] and layers & {"skin", "bones"}:
        image = _with_body(image, label, layers, skel, camera)
    if "keypoints" in layers:
        image = draw_keypoints(
            image, points_in_square(person.keypoints_2d, person.center, person.side * CROP_MARGIN, size)
        )
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
        image = overlay_mesh(image, skin, faces, camera, alpha=alpha, subsamples=_SUBSAMPLES)
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
    side = person.side * CROP_MARGIN
    # A large photo is decoded at an eighth, a quarter or a half, while that still has the pixels of the crop.
    wanted = [max(1, int(np.ceil(length * size / side))) for length in (photo.height, photo.width)]
    image = simplejpeg.decode_jpeg(photo.jpeg, min_height=wanted[0], min_width=wanted[1], min_factor=1)
    share = image.shape[1] / photo.width
    center = (np.asarray(person.center, np.float64) + 0.5) * share - 0.5
    crop = crop_square(image, center, side * share, size)
    whole = PinholeCamera.of_label(camera_of(label), person.center, person.side, photo.width, photo.height) if (
        label is not None and label["has_label"]
    ) else PinholeCamera.of_crop(person.center, person.side, photo.width, photo.height)  # fmt: skip
    return crop, camera_of_square(whole, person.center, side, size)
