"""Made people as wide pictures in memory, and turned, scaled and mirrored windows of them, a batch at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pipeline.demo_set import make_demo_set
from pipeline.shards import list_shards, read_shard
from schemas.keypoints import FLIP_PERMUTATION
from schemas.person import Photo
from trainer.data.decode import decode_photo
from trainer.data.patch import crop_transform, cut_patch

WIDE: Final = 1.8
"""Side of a picture in sides of the person's crop."""
_HEIGHT, _WIDTH = 128, 96  # px of what the net sees
_SCALE, _TURN, _SHIFT, _COLOR = 0.25, 0.6, 0.05, 0.25


class Pictures(NamedTuple):
    """pixels (N, 3, 256, 256) RGB of WIDE crop sides; keypoints (N, 44, 3) in crop units and confidence."""

    pixels: UInt8[Tensor, "N 3 256 256"]
    keypoints: Float[Tensor, "N 44 3"]

    def split(self, held_out: int) -> tuple[Self, Self]:
        """The last `held_out` people, and before them all others."""
        return type(self)(*(part[:-held_out] for part in self)), type(self)(*(part[-held_out:] for part in self))


def make_pictures(folder: Path, people: int, seeds: Sequence[int]) -> Pictures:
    """People of demo sets with these seeds, `people` each; a set that is there is not made again."""
    pixels: list[np.ndarray] = []
    keypoints: list[np.ndarray] = []
    for seed in seeds:
        made = make_demo_set(folder / f"pre{seed}", people=people, seed=seed, progress=True)
        for shard in list_shards(made.shard_pattern):
            for photo in read_shard(shard, check_photos=False):
                for pixel, keypoint in _wide(photo) if isinstance(photo, Photo) else ():
                    pixels.append(pixel)
                    keypoints.append(keypoint)
    return Pictures(torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(keypoints)).float())


def windows(pictures: Pictures, rows: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """(B, 3, 128, 96) RGB from 0 to 255 and keypoints (B, 44, 3) in crop units of the windows; rng: draws how they are
    turned, scaled, moved, coloured and mirrored, None for plain ones.
    """
    pixels, keypoints, count = pictures.pixels[rows].float(), pictures.keypoints[rows], len(rows)
    if rng is None:
        scale, turn, shift = torch.ones(count), torch.zeros(count), torch.zeros(count, 2)
        flip = torch.zeros(count, dtype=torch.bool)
    else:
        uniform = torch.rand(count, 9, generator=rng)
        scale = torch.exp(_SCALE * (2 * uniform[:, 0] - 1))
        turn = _TURN * (2 * uniform[:, 1] - 1) * (uniform[:, 2] < 0.6)
        shift, flip = _SHIFT * (2 * uniform[:, 3:5] - 1), uniform[:, 5] < 0.5
        pixels = pixels * (1 + _COLOR * (2 * uniform[:, 6:, None, None] - 1))
    pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
    mirrored = keypoints[:, list(FLIP_PERMUTATION)] * torch.tensor([-1.0, 1.0, 1.0])
    keypoints = torch.where(flip[:, None, None], mirrored, keypoints)
    cos, sin = turn.cos() * scale, turn.sin() * scale
    turned = torch.stack(
        [torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1
    )  # of window places to the picture's
    half = torch.tensor([_WIDTH / _HEIGHT / WIDE, 1 / WIDE])
    theta = torch.cat([turned * half, (2 * shift / WIDE)[:, :, None]], 2)
    seen = grid_sample(
        pixels, affine_grid(theta, [count, 3, _HEIGHT, _WIDTH], align_corners=False), align_corners=False
    )
    places = torch.linalg.solve(turned, (keypoints[..., :2] - shift[:, None]).mT).mT
    return seen.clamp(0, 255), torch.cat([places, keypoints[..., 2:]], 2)


def _wide(photo: Photo) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    picture = decode_photo(photo.jpeg, (photo.width, photo.height), 1)
    for person in photo.people:
        crop = crop_transform(person.center, person.side)
        wide = crop_transform(person.center, WIDE * person.side)
        points = person.keypoints_2d
        yield cut_patch(picture, wide), np.column_stack([crop(points[:, :2]), points[:, 2]])
