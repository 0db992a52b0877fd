"""The camera of a person: a pinhole at the place of the photo's, turned so that it looks at the middle of their crop.

Crop units under this camera: focal (x / z) with the crop's middle at 0 and focal = focal_px / side, so a crop that lies
off the photo's centre, or was taken by a lens with distortion, is seen as by a camera of its own that pointed at it.
Labels hold in its axes; `rotation` takes them to the photo's (docs/camera_and_crop.md).
"""

from typing import Final, NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.spatial.transform import Rotation

from pipeline.image.camera import FOCAL
from schemas.camera import Lens

_NEWTON_STEPS: Final = 20
_UNDISTORTED: Final = 1e-14  # of a ray's slope: the last bits of any photo
_NO_TURN: Final = 1e-12  # rad
MIN_RAY_DEPTH: Final = 1e-6  # of a ray of length 1: what lies beside or behind the camera stays finite, and far away


class PersonCamera(NamedTuple):
    """focal: in crop units (focal_px / side); rotation (3, 3): crop camera axes to photo camera axes."""

    focal: float
    rotation: Float[np.ndarray, "3 3"]

    @classmethod
    def of_label(cls, focal: float | None, turn: Float[np.ndarray, "3"]) -> Self:
        """As a row of a label table states it; null is HSMR's camera."""
        rotation = Rotation.from_rotvec(np.asarray(turn, np.float64)).as_matrix()
        return cls(FOCAL if focal is None or np.isnan(focal) else float(focal), rotation)

    @property
    def turn(self) -> Float32[np.ndarray, "3"]:
        """The rotation as a rotation vector, rad."""
        r = self.rotation  # turned by less than half: the skew part says all, cheaper than scipy's general way
        axis = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / 2
        sine = np.sqrt(axis @ axis)
        angle = np.arctan2(sine, (r[0, 0] + r[1, 1] + r[2, 2] - 1) / 2)
        return (axis * (angle / sine if sine > _NO_TURN else 1.0)).astype(np.float32)

    @property
    def ray(self) -> Float64[np.ndarray, "2"]:
        """Where the crop's middle lies as seen from the photo's axis: the angle, rad, along the photo's x and y."""
        x, y, z = self.rotation[:, 2]
        across = np.hypot(x, y)
        return np.array([x, y]) * (np.arctan2(across, z) / across if across > 0 else 1.0)


def person_camera(lens: Lens, center: Float[np.ndarray, "2"], side: float) -> PersonCamera:
    """The camera for the crop with this middle and side, px of the photo, by the shortest turn."""
    rays = photo_rays(lens, np.asarray(center, np.float64)[None])
    return PersonCamera(lens.focal_px / float(side), shortest_turns(rays)[0])


def shortest_turns(rays: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3 3"]:
    """The smallest rotations that take the z axis to these directions, which point forward."""
    x, y, z = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).T
    zero, share = np.zeros_like(x), 1 / (1 + z)
    cross = np.array([[zero, zero, x], [zero, zero, y], [-x, -y, zero]]).transpose(2, 0, 1)
    return np.eye(3) + cross + share[:, None, None] * (cross @ cross)


def photo_to_crop(points: Float[np.ndarray, "K 2"], lens: Lens, camera: PersonCamera) -> Float[np.ndarray, "K 2"]:
    """Points in px of the photo to crop units of the person's camera."""
    seen = photo_rays(lens, points) @ camera.rotation
    return camera.focal * seen[:, :2] / np.maximum(seen[:, 2:], MIN_RAY_DEPTH)


def crop_to_photo(points: Float[np.ndarray, "K 2"], lens: Lens, camera: PersonCamera) -> Float[np.ndarray, "K 2"]:
    """Inverse of `photo_to_crop`."""
    rays = np.column_stack([np.asarray(points, np.float64) / camera.focal, np.ones(len(points))])
    return photo_points(lens, rays @ camera.rotation.T)


def photo_points(lens: Lens, places: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 2"]:
    """Places in the photo camera's axes (x right, y down, z forward), any unit, to px of the photo."""
    places = np.asarray(places, np.float64)
    flat = places[:, :2] / np.maximum(places[:, 2:], MIN_RAY_DEPTH)
    return lens.focal_px * _distorted(flat, lens.distortion) + lens.principal_point


def photo_rays(lens: Lens, points: Float[np.ndarray, "K 2"]) -> Float[np.ndarray, "K 3"]:
    """Points in px of the photo to (X/Z, Y/Z, 1), the distortion undone by Newton's method."""
    seen = (np.asarray(points, np.float64) - lens.principal_point) / lens.focal_px
    flat = seen.copy()
    if np.any(lens.distortion):
        for _ in range(_NEWTON_STEPS):
            left = seen - _distorted(flat, lens.distortion)
            if np.abs(left).max(initial=0.0) < _UNDISTORTED:
                break
            flat = flat + np.linalg.solve(_slope(flat, lens.distortion), left[..., None])[..., 0]
    return np.column_stack([flat, np.ones(len(flat))])


def principal_point(camera: PersonCamera, center: Float[np.ndarray, "2"], side: float) -> Float[np.ndarray, "2"]:
    """The photo's principal point, px, that a label's camera and crop imply; without distortion."""
    forward = camera.rotation[:, 2]
    return np.asarray(center, np.float64) - camera.focal * side * forward[:2] / forward[2]


def _distorted(flat: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Brown's model with two radial and two tangential terms (Brown, 1966), as OpenCV states it."""
    k1, k2, p1, p2 = distortion
    x, y = flat[:, 0], flat[:, 1]
    squared = x * x + y * y
    radial = 1 + squared * (k1 + squared * k2)
    return np.column_stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
        ]
    )


def _slope(flat: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Derivative (K, 2, 2) of `_distorted`."""
    k1, k2, p1, p2 = distortion
    x, y = flat[:, 0], flat[:, 1]
    squared = x * x + y * y
    radial, growth = 1 + squared * (k1 + squared * k2), 2 * k1 + 4 * k2 * squared
    mixed = x * y * growth + 2 * p1 * x + 2 * p2 * y
    xx = radial + x * x * growth + 2 * p1 * y + 6 * p2 * x
    yy = radial + y * y * growth + 6 * p1 * y + 2 * p2 * x
    return np.stack([np.stack([xx, mixed], -1), np.stack([mixed, yy], -1)], -2)
