"""A file of calibrated cameras: which photos each one took, and its lens.

- photos: mycapture/cam01/*          # data set / key, * and ? as in file names; the first that matches counts
  focal_px: 1680
  principal_point: [540, 960]        # px; the middle of the photo where it is left out
  distortion: [-0.05, 0.02, 0, 0]    # k1 k2 p1 p2 as in OpenCV; none where it is left out
"""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from pipeline.runtime.config import ConfigError
from schemas.camera import CameraSource, Lens

_FIELDS: Final = frozenset({"photos", "focal_px", "principal_point", "distortion"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera: the photos it took, and its lens; principal_point None: the middle of the photo."""

    photos: str
    focal_px: float
    principal_point: tuple[float, float] | None = None
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def lens(self, width: int, height: int) -> Lens:
        """For a photo of this size, px."""
        middle = (width / 2, height / 2) if self.principal_point is None else self.principal_point
        return Lens(
            focal_px=self.focal_px,
            principal_point=np.array(middle, np.float64),
            distortion=np.array(self.distortion, np.float64),
            source=CameraSource.CALIBRATION,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Cameras in the order of the file, and its SHA-256 (hex): another calibration gives other labels."""

    cameras: tuple[Camera, ...] = ()
    digest: str = ""

    def of_photo(self, dataset: str, key: str) -> Camera | None:
        """The first camera that took this photo."""
        name = f"{dataset}/{key}"
        return next((camera for camera in self.cameras if fnmatchcase(name, camera.photos)), None)


def read_calibration(path: str) -> Calibration:
    """The cameras of a YAML file. Raises ConfigError, which names the file and the entry."""
    try:
        content = Path(path).expanduser().read_bytes()
        entries = yaml.safe_load(content)
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"data.calibration={path}: cannot be read as YAML: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"data.calibration={path}: a list of cameras expected, each with photos and focal_px.")
    cameras = tuple(_camera(entry, f"data.calibration={path}, camera {n + 1}") for n, entry in enumerate(entries))
    return Calibration(cameras=cameras, digest=hashlib.sha256(content).hexdigest())


def _camera(entry: Any, where: str) -> Camera:
    if not isinstance(entry, dict) or not {"photos", "focal_px"} <= set(entry) <= _FIELDS:
        met = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise ConfigError(
            f"{where}: photos and focal_px expected, and perhaps principal_point and distortion; met {met}."
        )
    try:
        principal = entry.get("principal_point")
        camera = Camera(
            photos=str(entry["photos"]),
            focal_px=float(entry["focal_px"]),
            principal_point=None if principal is None else _numbers(principal, 2),
            distortion=_numbers(entry.get("distortion", [0, 0, 0, 0]), 4),
        )
        camera.lens(1, 1)  # refuses what no camera has
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
    return camera


def _numbers(values: Any, count: int) -> Any:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{count} numbers expected, met {values!r}.")
    return tuple(float(value) for value in values)
