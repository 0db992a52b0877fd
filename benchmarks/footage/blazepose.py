"""BlazePose's own 3D of the same crops: MediaPipe's landmark network (pose_landmark_full.tflite) with the box given."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.footage.measured import POINTS, Footage
from benchmarks.footage.sighted_views import SightedViews, person_box
from benchmarks.footage.video_frames import has_video, video_frames
from pipeline.render.overlay import crop_square

MODEL: Final = "pose_landmark_full.tflite"
_SIDE: Final = 256
_MARGIN: Final = 1.1  # of our crop, itself 1.2 of the points' box: the region that BlazePose was trained on
_OURS: Final = {
    0: 0, 2: 12, 3: 14, 4: 16, 5: 11, 6: 13, 7: 15, 9: 24, 10: 26, 11: 28, 12: 23, 13: 25, 14: 27, 15: 5, 16: 2,
    17: 8, 18: 7, 19: 31, 21: 29, 22: 32, 24: 30,
}  # fmt: skip
"""Our point -> BlazePose's landmark. It knows no small toes; neck and mid hip are the middles of shoulders and hips."""


def can_run(folder: Path, models: Path) -> bool:
    """Whether videos, model and interpreter are there."""
    return has_video(folder) and (models / MODEL).is_file() and find_spec("ai_edge_litert") is not None


def landmarks_3d(footage: Footage, folder: Path, models: Path, seen: SightedViews) -> np.ndarray:
    """(N, 25, 3) m about the mid hip, in the axes of each view's crop; NaN where BlazePose has no such point."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(models / MODEL), num_threads=1)
    network.allocate_tensors()
    points = np.full((len(seen.view), POINTS, 3), np.nan)
    for view in np.unique(seen.view):
        rows = np.flatnonzero(seen.view == view)
        photos = video_frames(folder, int(view), [int(footage.numbers[frame]) for frame in seen.frame[rows]])
        for row, photo in zip(rows, photos, strict=True):
            center, side = person_box(footage.points_2d[view, seen.frame[row]])
            points[row] = _ours(_world(network, crop_square(photo, center, _MARGIN * side, _SIDE)))
    return points


def _world(network: object, crop: np.ndarray) -> np.ndarray:
    """(39, 3) m: the output of 117 numbers."""
    given, *_ = network.get_input_details()  # type: ignore[attr-defined]
    network.set_tensor(given["index"], crop[None].astype(np.float32) / 255)  # type: ignore[attr-defined]
    network.invoke()  # type: ignore[attr-defined]
    world = next(o for o in network.get_output_details() if int(np.prod(o["shape"])) == 117)  # type: ignore[attr-defined]
    return np.array(network.get_tensor(world["index"]), np.float64).reshape(39, 3)  # type: ignore[attr-defined]


def _ours(world: np.ndarray) -> np.ndarray:
    points = np.full((POINTS, 3), np.nan)
    for ours, theirs in _OURS.items():
        points[ours] = world[theirs]
    points[1], points[8] = (points[2] + points[5]) / 2, (points[9] + points[12]) / 2
    return points
