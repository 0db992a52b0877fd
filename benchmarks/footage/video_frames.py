"""The pictures of the footage: cam01.mp4, cam02.mp4, ... beside its truth.npz, where PyAV can read them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8


def has_video(folder: Path) -> bool:
    """Whether there are videos, and something to read them with (pip install '.[footage]')."""
    return (folder / "cam01.mp4").is_file() and find_spec("av") is not None


def video_frames(folder: Path, view: int, numbers: Sequence[int]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Frames of one view's video by their numbers, ascending."""
    import av

    wanted, found = set(numbers), []
    with av.open(str(folder / f"cam{view + 1:02d}.mp4")) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if number >= max(wanted):
                break
    return found
