"""The camera of an augmented crop, exactly: a pinhole at the photo camera's place that is turned to the crop's middle.

A network that is told cameras learns in its axes; one that is not learns in crop units of the affine crop, as HSMR
(docs/camera_and_crop.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from pipeline.image.person_camera import PersonCamera, person_camera, photo_to_crop, principal_point
from schemas.camera import CameraSource, Lens
from trainer.data.patch import CropTransform


@dataclass(frozen=True, slots=True, kw_only=True)
class PinholeCrop:
    """Photo px to crop units by rays, in place of the affine map of the patch; the same map for a crop that lies
    straight ahead.

    camera: of the crop as an upright square; plane (2, 2): the turn, and mirror, of the square's axes to the crop's;
    from_label (3, 3): the axes in which the label holds to those of `camera`.
    """

    lens: Lens
    camera: PersonCamera
    plane: Float64[np.ndarray, "2 2"]
    from_label: Float64[np.ndarray, "3 3"]
    mirrored: bool

    def __call__(self, points: Float[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 2"]:
        """Points in px of the photo to crop units; what lies behind the camera goes far away."""
        return photo_to_crop(points, self.lens, self.camera) @ self.plane.T

    @property
    def ray(self) -> Float64[np.ndarray, "2"]:
        """Where the crop's middle lies as seen from the photo's axis, rad along the crop's x and y."""
        return self.plane @ self.camera.ray


def pinhole_crop(
    transform: CropTransform, label: PersonCamera, center: Float[np.ndarray, "2"], side: float
) -> PinholeCrop:
    """The camera of a crop (`transform`) of a person whose label holds in the camera `label` of the plain crop
    (`center`, `side`, px of the photo). The photo's lens is the one that these tell, without distortion.
    """
    middle = principal_point(label, center, side)
    lens = Lens(focal_px=label.focal * side, principal_point=middle, source=CameraSource.ESTIMATED)
    scale = 1 / float(np.hypot(*transform.matrix[:, 0]))
    camera = person_camera(lens, transform.inverse(np.zeros(2)), scale)
    return PinholeCrop(
        lens=lens,
        camera=camera,
        plane=transform.matrix[:, :2] * scale,
        from_label=camera.rotation.T @ label.rotation,
        mirrored=transform.mirrored,
    )
