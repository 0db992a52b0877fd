"""Build the demo set's places: `python -m tools.surroundings.build --panoramas DIR`. Needs `OpenEXR`.

DIR holds NAME.exr, all-round panoramas of radiance: see pipeline/demo_set/places/PROVENANCE.md.
"""

import argparse
import hashlib
import importlib
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
from jaxtyping import Float, UInt8
from scipy.ndimage import maximum_filter

from pipeline.demo_set.surroundings import GAMMA, IRRADIANCE_FILE, PLACES, harmonics

JPEG_QUALITY: Final = 70
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])
_LAMBERT: Final = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)
"""How a matt surface weakens a harmonic of the light, by degree, over pi (Ramamoorthi and Hanrahan, 2001)."""
_MIDDLE_GREY: Final = 0.2
_RINGING_PX: Final = 9  # across a block of the file's compression


def read_panorama(file: Path) -> Float[np.ndarray, "H W 3"]:
    """Radiance of an EXR file with one RGB channel."""
    with importlib.import_module("OpenEXR").File(str(file)) as image:
        return np.asarray(image.channels()["RGB"].pixels, np.float64)


def irradiance(panorama: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "9 3"]:
    """As `Surroundings` has it. Negative radiance, ringing of the file's compression beside the sun, is kept: it takes
    back what the sun's pixels have too much.
    """
    height, width, _ = panorama.shape
    latitude = ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    down, across = np.meshgrid(latitude, longitude, indexing="ij")
    directions = np.stack([np.sin(across) * np.cos(down), np.sin(down), np.cos(across) * np.cos(down)], -1)
    solid_angle = np.cos(down) * (np.pi / height) * (2 * np.pi / width)
    basis = harmonics(directions.reshape(-1, 3)).reshape(height, width, 9)
    light = np.einsum("hwk,hwc,hw->kc", basis, panorama, solid_angle)
    found = _LAMBERT[:, None] * light
    return found / (found[0] @ _LUMINANCE * 0.282095)


def picture(panorama: Float[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """The panorama exposed for its geometric mean, highlights rolled off (Reinhard et al., 2002)."""
    ringing = (panorama < 0).any(-1, keepdims=True)
    radiance = np.where(ringing, maximum_filter(panorama, (_RINGING_PX, _RINGING_PX, 1)), panorama)
    luminance = radiance @ _LUMINANCE
    exposed = radiance * (_MIDDLE_GREY / np.exp(np.log(np.maximum(luminance, 1e-4)).mean()))
    bright = exposed @ _LUMINANCE
    mapped = exposed * ((1 + bright / 9) / (1 + bright))[..., None]
    return np.rint(255 * np.clip(mapped, 0, 1) ** (1 / GAMMA)).astype(np.uint8)


def main() -> None:
    """Write the pictures and the light, and print the digest of what was read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panoramas", type=Path, required=True, metavar="DIR")
    files = sorted(parser.parse_args().panoramas.glob("*.exr"))
    panoramas = {file.stem: read_panorama(file) for file in files}
    for name, panorama in panoramas.items():
        (PLACES / f"{name}.jpg").write_bytes(simplejpeg.encode_jpeg(picture(panorama), quality=JPEG_QUALITY))
    light = {name: irradiance(panorama).astype(np.float32) for name, panorama in panoramas.items()}
    np.savez(PLACES / IRRADIANCE_FILE, **light)  # pyrefly: ignore
    listed = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    print(f"{len(files)} panoramas, digest {hashlib.sha256(listed.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
