"""Footage from calibrated cameras whose points were measured: the `truth.npz` of a folder.

`frames` (T,) video frame numbers, `fps`; `points_2d` (V, T, 25, 3) px of the photo and confidence of the first 25
keypoints; `points_3d` (T, 25, 3) m in world axes, NaN where unknown; `camera_matrix` (V, 3, 3), `distortion` (V, 4) as
OpenCV writes it, `rotation` (V, 3, 3) and `translation` (V, 3): x_cam = R X + t.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.camera import CameraSource, Lens

POINTS = 25
_SHAPES = {
    "points_2d": ("V", "T", POINTS, 3),
    "points_3d": ("T", POINTS, 3),
    "camera_matrix": ("V", 3, 3),
    "distortion": ("V", 4),
    "rotation": ("V", 3, 3),
    "translation": ("V", 3),
    "frames": ("T",),
}


class FootageError(ValueError):
    """A folder of footage that cannot be used; says which field, and what was expected."""


@dataclass(frozen=True)
class Footage:
    """One person in V views over T frames, as in the file; lenses: one a view; numbers (T,): of the video's frames."""

    points_2d: np.ndarray
    points_3d: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    lenses: tuple[Lens, ...]
    seconds: np.ndarray
    numbers: np.ndarray

    @property
    def views(self) -> int:
        return len(self.lenses)


def read_footage(folder: Path, frames: int | None = None) -> Footage:
    """The first `frames` frames, or all. Raises FootageError."""
    path = folder / "truth.npz"
    if not path.is_file():
        raise FootageError(f"{path} is not there: --data takes a folder with a truth.npz (docs/real_truth.md).")
    with np.load(path, allow_pickle=False) as stored:
        values = {name: np.asarray(stored[name]) for name in _SHAPES if name in stored}
        fps = float(stored["fps"]) if "fps" in stored else 30.0
    _check(path, values)
    part = slice(frames)
    matrix = values["camera_matrix"]
    lenses = tuple(
        Lens(
            focal_px=float(matrix[view, 0, 0] + matrix[view, 1, 1]) / 2,
            principal_point=matrix[view, :2, 2].astype(np.float64),
            distortion=values["distortion"][view].astype(np.float64),
            source=CameraSource.CALIBRATION,
        )
        for view in range(len(matrix))
    )
    return Footage(
        points_2d=values["points_2d"][:, part].astype(np.float64),
        points_3d=values["points_3d"][part].astype(np.float64),
        rotation=values["rotation"].astype(np.float64),
        translation=values["translation"].astype(np.float64),
        lenses=lenses,
        seconds=values["frames"][part] / fps,
        numbers=values["frames"][part].astype(np.int64),
    )


def _check(path: Path, values: dict[str, np.ndarray]) -> None:
    sizes: dict[Any, int] = {}
    for name, shape in _SHAPES.items():
        if name not in values:
            raise FootageError(f"{path} has no field {name!r}.")
        found = values[name].shape
        expected = tuple(size if isinstance(size, int) else sizes.get(size, "any") for size in shape)
        fits = len(found) == len(shape) and all(e in ("any", f) for e, f in zip(expected, found, strict=True))
        if not fits:
            raise FootageError(f"{path}: {name} has shape {found}, expected {expected}.")
        sizes |= {size: f for size, f in zip(shape, found, strict=True) if isinstance(size, str)}
