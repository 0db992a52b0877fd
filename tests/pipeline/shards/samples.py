"""Small samples and tars that the shard tests are made of."""

import io
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from pipeline.shards import RawSample, list_shards, person_record, read_shard
from schemas.person import Photo, Rejection, RejectionReason, SmplLabel


def photo_bytes(seed: int = 0, width: int = 96, height: int = 64) -> bytes:
    """JPEG of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)), quality=90)


def person(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A good person with a SMPL label; `changes` replace fields."""
    rng = np.random.default_rng(seed)
    record = person_record(
        keypoints_2d=rng.uniform(0, 60, (44, 3)),
        keypoints_3d=rng.normal(size=(44, 4)),
        center=(48, 32),
        scale=(0.2, 0.3),
        smpl=SmplLabel(pose=rng.normal(size=(24, 3)).astype(np.float32), betas=rng.normal(size=10).astype(np.float32)),
    )
    return record | changes


def sample(key: str = "set/a", n_people: int = 1, seed: int = 0) -> RawSample:
    return RawSample(key=key, jpeg=photo_bytes(seed), people=[person(seed + i) for i in range(n_people)])


def members(sample: RawSample) -> list[tuple[str, bytes]]:
    """The members of a sample, named as in a shard."""
    labels = pickle.dumps(list(sample.people), 4)
    return [(f"{sample.key}.jpg", sample.jpeg), (f"{sample.key}.data.pyd", labels)]


def write_tar(path: Path, entries: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """A tar of any members, sound or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read(path: Path | str) -> tuple[list[Photo], list[Rejection]]:
    """Photos and rejections of a shard."""
    items = list(read_shard(list_shards(str(path))[0]))
    return [i for i in items if isinstance(i, Photo)], [i for i in items if isinstance(i, Rejection)]


def reasons(rejections: Iterable[Rejection]) -> list[tuple[str | None, int | None, RejectionReason]]:
    return [(r.key, r.person, r.reason) for r in rejections]
