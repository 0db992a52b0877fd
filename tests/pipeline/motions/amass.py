"""Motions as AMASS writes them, made up: somebody swings arms and legs, turns and walks."""

from pathlib import Path
from typing import Any

import numpy as np

FPS = 60.0


def smpl_h(frames: int = 10, seed: int = 0) -> dict[str, Any]:
    """The arrays of an AMASS file: z up, 156 numbers a frame, 16 betas."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / FPS
    poses = np.zeros((frames, 156))
    poses[:, 0], poses[:, 2] = np.pi / 2, 0.3 * time
    swing = rng.uniform(0.1, 0.5, (1, 63)) * np.sin(6 * time[:, None] + rng.uniform(0, 6, (1, 63)))
    poses[:, 3:66] = 0.4 * swing
    poses[:, 3:6] -= [0.3, 0, 0]
    poses[:, 12] = poses[:, 15] = 0.5 + 0.2 * np.sin(6 * time)  # knees
    poses[:, 66:] = rng.normal(0, 0.3, (frames, 90))  # fingers
    return {
        "poses": poses,
        "betas": np.concatenate([rng.normal(0, 0.7, 10), np.full(6, 9.0)]),
        "trans": np.stack([time, 0 * time, 0.9 + 0 * time], 1),
        "gender": np.array("female"),
        "mocap_framerate": np.array(FPS),
        "dmpls": np.zeros((frames, 8)),
    }


def write(folder: Path, name: str, **changes: Any) -> Path:
    """An AMASS file with other arrays in the place of some; None takes one away."""
    arrays = {**smpl_h(), **changes}
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path
