"""Real places around the made-up people: the light that falls on them, and what the camera sees behind them.

Light is the irradiance of a panorama up to its second spherical harmonics, which a matt surface reflects to within a
few per cent (Ramamoorthi and Hanrahan, 2001). Axes are those of a level camera: x right, y down, z forward.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from pipeline.demo_set.photo_cameras import PhotoCamera
from pipeline.image.person_camera import photo_rays

PLACES: Final = Path(__file__).parent / "places"
IRRADIANCE_FILE: Final = "irradiance.npz"
GAMMA: Final = 2.2
"""Of pictures and of the colours people are painted in."""

_EXPOSURE: Final = 0.85  # bright skin in the light is not quite white
_LEAST_LIGHT: Final = 0.04  # the harmonics of a low sun dip below zero on the far side
_COARSE_PX: Final = 16  # rays change smoothly over the photo: a grid of them is enough
_BLUR_DEG: Final = 0.55  # a panorama shows little more; the people are in focus, what is behind them is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A place. panorama: all round, rows from zenith to nadir, forward in the middle; irradiance (9, 3): by harmonic
    and colour, over pi, so that it is the radiance of a white surface; its mean over all directions has luminance 1.
    """

    panorama: UInt8[np.ndarray, "H W 3"]
    irradiance: Float[np.ndarray, "9 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A place from a camera that looks `heading` rad to the right of its forward direction."""

    place: Surroundings
    heading: float
    camera: PhotoCamera

    def shading(self, normals: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Factor of the colours (gamma 2.2) of surfaces with these unit normals, in the photo camera's axes."""
        light = harmonics(self._in_place(normals)) @ self.place.irradiance
        return _EXPOSURE * np.maximum(light, _LEAST_LIGHT) ** (1 / GAMMA)

    def background(self) -> UInt8[np.ndarray, "H W 3"]:
        """What the camera would see if nobody stood there."""
        height, width, _ = self.place.panorama.shape
        directions = self._in_place(_rays(self.camera).reshape(-1, 3))
        longitude, latitude = angles(directions)
        places = [(0.5 + latitude / np.pi) * height - 0.5, (0.5 + longitude / (2 * np.pi)) * width - 0.5]
        colors = self.place.panorama.transpose(2, 0, 1)
        seen = [map_coordinates(color, places, np.float32, order=1, mode="grid-wrap") for color in colors]
        picture = np.stack(seen, -1).reshape(self.camera.height, self.camera.width, 3)
        sigma = self.camera.lens.focal_px * np.deg2rad(_BLUR_DEG)
        return np.clip(gaussian_filter(picture, (sigma, sigma, 0)), 0, 255).astype(np.uint8)

    def _in_place(self, directions: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 3"]:
        """From the photo camera's axes to the place's."""
        cosine, sine = np.cos(self.heading), np.sin(self.heading)
        turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        return directions @ self.camera.from_level @ turn.T


def load_surroundings() -> tuple[Surroundings, ...]:
    """All places that ship with the package."""
    with np.load(PLACES / IRRADIANCE_FILE) as file:
        irradiance = {name: file[name].astype(np.float64) for name in file.files}
    return tuple(
        Surroundings(
            panorama=simplejpeg.decode_jpeg((PLACES / f"{name}.jpg").read_bytes()), irradiance=irradiance[name]
        )
        for name in sorted(irradiance)
    )


def angles(directions: Float[np.ndarray, "K 3"]) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """Longitude to the right of forward and latitude below the horizon, rad."""
    x, y, z = directions.T
    return np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))


def harmonics(directions: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 9"]:
    """Real spherical harmonics of degree 0, 1 and 2 of unit vectors, orthonormal over the sphere."""
    x, y, z = directions.T
    return np.stack(
        [
            np.full_like(x, 0.282095),
            *(0.488603 * axis for axis in (y, z, x)),
            *(1.092548 * product for product in (x * y, y * z, x * z)),
            0.315392 * (3 * z * z - 1),
            0.546274 * (x * x - y * y),
        ],
        -1,
    )


def _rays(camera: PhotoCamera) -> Float[np.ndarray, "H W 3"]:
    """Of every pixel, interpolated from a coarse grid."""
    rows, columns = camera.height // _COARSE_PX + 1, camera.width // _COARSE_PX + 1
    y, x = np.mgrid[: camera.height - 1 : rows * 1j, : camera.width - 1 : columns * 1j]
    coarse = photo_rays(camera.lens, np.column_stack([x.ravel(), y.ravel()])).reshape(rows, columns, 3)
    return np.stack(
        [zoom(coarse[..., c], (camera.height / rows, camera.width / columns), order=1) for c in range(3)], -1
    )
