"""Small shards of made people: SMPL poses of the open body, their projected keypoints with noise, a grey photo."""

from pathlib import Path

import numpy as np
import simplejpeg
import torch

from pipeline.body import load_smpl
from pipeline.image.camera import project
from pipeline.shards import RawSample, person_record, write_shard
from schemas.person import SmplLabel

PHOTO_PX = 256
CAM_T = (0.0, 0.0, 45.0)  # m: at f = 5000 px a standing person fills about three quarters of the photo


def make_samples(people: int, seed: int = 0) -> list[RawSample]:
    """One person a photo, each of a grey of its own; every fourth has no SMPL label."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.15, (people, 24, 3)).astype(np.float32)
    pose[:, 0] += (np.pi, 0, 0)  # y down
    betas = rng.normal(0, 0.5, (people, 10)).astype(np.float32)
    keypoints = _keypoints(pose, betas)
    keypoints[..., :2] += rng.normal(0, 1.5, keypoints[..., :2].shape)
    labels = [None if i % 4 == 3 else SmplLabel(pose=pose[i], betas=betas[i]) for i in range(people)]
    return [
        RawSample(key=f"made/{i:04d}", jpeg=_photo(seed, i), people=[_record(keypoints[i], label)])
        for i, label in enumerate(labels)
    ]


def write_shards(folder: Path, samples: list[RawSample], shards: int) -> str:
    """Deal the samples out in order to `shards` tars; returns their brace pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, part in enumerate(np.array_split(np.arange(len(samples)), shards)):
        write_shard(str(folder / f"{shard:06d}.tar"), [samples[i] for i in part])
    return f"{folder}/{{000000..{shards - 1:06d}}}.tar"


def _photo(seed: int, number: int) -> bytes:
    """Grey, with a corner that no other photo has."""
    picture = np.full((PHOTO_PX, PHOTO_PX, 3), 128, np.uint8)
    picture[:8, :32] = np.random.default_rng([seed, number]).integers(0, 256, (1, 4, 3)).repeat(8, 1)
    return simplejpeg.encode_jpeg(picture)


def _record(keypoints: np.ndarray, smpl: SmplLabel | None) -> dict[str, object]:
    half, box = PHOTO_PX / 2, PHOTO_PX / 200
    return person_record(keypoints_2d=keypoints, center=(half, half), scale=(box, box), smpl=smpl)


def _keypoints(pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """(people, 44, 3): px of the photo and confidence 1."""
    points = load_smpl("open")(torch.from_numpy(pose), torch.from_numpy(betas)).keypoints
    pixels = (project(points, torch.tensor(CAM_T).expand(len(pose), 3)) + 0.5) * PHOTO_PX
    return np.concatenate([pixels.numpy(), np.ones((*pixels.shape[:2], 1))], -1).astype(np.float32)
