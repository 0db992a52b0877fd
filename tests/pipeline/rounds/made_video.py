"""Shards of made-up video: smooth motion of the open body, keypoints with 1.5 px of noise, SMPL labels that jitter."""

from dataclasses import dataclass

import numpy as np
import simplejpeg
import torch

from pipeline.body import load_smpl
from pipeline.image.camera import project
from pipeline.shards import RawSample, person_record
from schemas.person import SmplLabel
from tests.pipeline.rounds.made_shards import CAM_T, PHOTO_PX

FPS = 30.0


@dataclass(frozen=True)
class MadeVideo:
    """One person filmed: frame numbers (T,), true SMPL pose (T, 24, 3) and betas (10,), one sample a frame."""

    frames: np.ndarray
    pose: np.ndarray
    betas: np.ndarray
    samples: list[RawSample]


def make_video(name: str, frames: np.ndarray, seed: int) -> MadeVideo:
    """Joints that swing at up to 2 Hz. Labels are 0.06 rad off, each frame anew; one shape, which they do not know."""
    rng = np.random.default_rng(seed)
    swing = rng.normal(0, 0.15, (24, 3)) * np.sin(
        2 * np.pi * rng.uniform(0.5, 2, (24, 3)) * (frames / FPS)[:, None, None] + rng.uniform(0, 6, (24, 3))
    )
    pose = rng.normal(0, 0.1, (24, 3)) + swing
    pose[:, 0] += (np.pi, 0, 0)  # y down
    betas = rng.normal(0, 0.5, 10)
    points = load_smpl("open")(
        torch.as_tensor(pose, dtype=torch.float32), torch.as_tensor(betas, dtype=torch.float32).repeat(len(pose), 1)
    ).keypoints
    pixels = (project(points, torch.tensor(CAM_T).expand(len(pose), 3)) + 0.5).numpy() * PHOTO_PX
    pixels = pixels + rng.normal(0, 1.5, pixels.shape)
    labels = (pose + rng.normal(0, 0.06, pose.shape)).astype(np.float32)
    jpeg = simplejpeg.encode_jpeg(np.full((PHOTO_PX, PHOTO_PX, 3), 128, np.uint8))
    half, box = PHOTO_PX / 2, PHOTO_PX / 200
    samples = [
        RawSample(
            key=f"{name}/{frame:05d}",
            jpeg=jpeg,
            people=[
                person_record(
                    keypoints_2d=np.concatenate([pixels[i], np.ones((44, 1))], 1),
                    center=(half, half),
                    scale=(box, box),
                    smpl=SmplLabel(pose=labels[i], betas=np.zeros(10, np.float32)),
                    track=(name, int(frame)),
                    fps=FPS,
                )
            ],
        )
        for i, frame in enumerate(frames)
    ]
    return MadeVideo(frames, pose, betas, samples)
