"""The camera of the whole photo: one focal length and one centre for all of its people, as other software wants it.

q and cam_t are those of the person's crop camera, whose centre is the box's and whose focal length grows with the box.
Here everyone is moved into one camera with f = 5000/256 of the photo's longer side and its centre in the middle, as
HMR2 and HSMR draw on whole photos. The pelvis keeps its exact place and size in the image; what lies before or behind
it moves by the perspective of half a metre at tens of metres.

A person whose own camera is known (a focal length and a turn in their row) stands in the photo's true pinhole instead,
`lens_camera`: the same picture to the last point, the body turned to the photo's axes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from pipeline.image.camera import FOCAL
from pipeline.image.person_camera import PersonCamera, principal_point


class PhotoCamera(NamedTuple):
    """u = focal_px X / Z + center_x, v = focal_px Y / Z + center_y; x right, y down, z forward, px of the photo."""

    focal_px: float
    center_x: float
    center_y: float


def photo_camera(width: int, height: int) -> PhotoCamera:
    """The camera of a photo of this size, px."""
    return PhotoCamera(FOCAL * max(width, height), width / 2, height / 2)


def lens_camera(camera: PersonCamera, center: Float[np.ndarray, "2"], side: float) -> PhotoCamera:
    """The photo's true pinhole, which the camera of a person's crop (center, side px) tells; without distortion."""
    x, y = principal_point(camera, center, side).tolist()
    return PhotoCamera(float(camera.focal * side), x, y)


def turned_translation(
    cam_t: Float[np.ndarray, "N 3"], pelvis: Float[np.ndarray, "N 3"], rotation: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "N 3"]:
    """Translation (N, 3) m, in the axes that `rotation` leads to, of a body that is turned about its pelvis along."""
    place = np.asarray(cam_t, np.float64) + pelvis
    return (rotation @ place[:, :, None])[:, :, 0] - pelvis


def into_photo_camera(
    cam_t: Float[np.ndarray, "N 3"],
    pelvis: Float[np.ndarray, "N 3"],
    center: Float[np.ndarray, "N 2"],
    side: Float[np.ndarray, "N"],
    size: Integer[np.ndarray, "N 2"],
) -> Float[np.ndarray, "N 3"]:
    """Translation (N, 3) m that takes the place of cam_t in the photo's camera.

    pelvis: the body's joint 0 without translation, m; center (N, 2) px and side px: the crop; size (N, 2): the photo's
    width and height, px.
    """
    cam_t, pelvis = np.asarray(cam_t, np.float64), np.asarray(pelvis, np.float64)
    side, longer = np.asarray(side, np.float64), size.max(1)
    place = cam_t + pelvis
    pixel = FOCAL * side[:, None] * place[:, :2] / place[:, 2:] + center
    depth = place[:, 2] * longer / side
    across = (pixel - size / 2) * depth[:, None] / (FOCAL * longer[:, None])
    return np.column_stack([across, depth]) - pelvis
