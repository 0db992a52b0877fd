"""A small convolutional backbone whose tokens are keypoints: for each, where it is seen and what is seen there.

A ViT learns from many thousand photos that places matter; this one is built on it, and learns from a few hundred on a
CPU (docs/decisions/0026-keypoint-net.md). Heat maps and their means: integral regression (Sun et al., ECCV 2018).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from schemas.keypoints import N_KEYPOINTS
from trainer.network.vit import COLUMNS_CUT, GRID, Patches

KEYPOINT_NET_FILE: Final = Path(__file__).parent / "keypoint_net.safetensors"
"""Weights of the keypoint net of variant mini, from `tools/keypoint_net`."""

_SHRUNK: Final = 2  # crop px a pixel that it sees
_CHANNELS_A_GROUP: Final = 16
_PLACE: Final = 4  # numbers that tell where: x, y, how spread out, how sure

KeypointTokens = Float[Tensor, "B 44 D"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointNetConfig:
    """Width of the tokens; of the maps, from 1/4 of the crop's pixels a side to 1/32; blocks at the last two."""

    dim: int
    widths: tuple[int, int, int, int]
    blocks: int


MINI: Final = KeypointNetConfig(dim=128, widths=(16, 32, 64, 128), blocks=2)


class Seen(NamedTuple):
    """heat (B, 44, 192): logarithm of how likely each keypoint lies in each cell of the grid of 16 x 12, row by row;
    features (B, 192, dim) of the cells.
    """

    heat: Float[Tensor, "B 44 192"]
    features: Float[Tensor, "B 192 D"]


class KeypointNet(nn.Module):
    """Normalised crop (B, 3, 256, 256) to tokens (B, 44, dim), a keypoint each."""

    def __init__(self, config: KeypointNetConfig):
        super().__init__()
        first, second, third, fourth = config.widths
        blocks = config.blocks
        self.fine = nn.Sequential(
            _convolution(3, first, 2), _convolution(first, second, 2), _convolution(second, third, 2),
            *(Block(third) for _ in range(blocks)),
        )  # fmt: skip
        self.coarse = nn.Sequential(_convolution(third, fourth, 2), *(Block(fourth) for _ in range(blocks)))
        self.joined = nn.Conv2d(third + fourth, config.dim, 1)
        self.heat = nn.Conv2d(config.dim, N_KEYPOINTS, 1)
        self.token = nn.Linear(config.dim + _PLACE, config.dim)
        self.which = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, N_KEYPOINTS, config.dim), std=0.02))

    def forward(self, patches: Patches) -> KeypointTokens:
        heat, features = self.see(avg_pool2d(patches[..., COLUMNS_CUT:-COLUMNS_CUT].to(self.which.dtype), _SHRUNK))
        share, cells = heat.exp(), cell_centres().to(heat)
        place = share @ cells
        spread = (share @ cells.square().sum(1, keepdim=True) - place.square().sum(2, keepdim=True)).clamp_min(1e-6)
        told = torch.cat([share @ features, 4 * place, 4 * spread.sqrt(), share.amax(2, keepdim=True)], 2)
        return self.token(told) + self.which

    def freeze(self) -> None:
        """Keep what finds the keypoints as it is; the tokens made of them are still learned."""
        for part in (self.fine, self.coarse, self.joined, self.heat):
            part.requires_grad_(False)

    def see(self, shrunk: Float[Tensor, "B 3 128 96"]) -> Seen:
        """What the tokens are made of. shrunk: what the network sees of a normalised crop, in pixels of 2 x 2."""
        fine = self.fine(shrunk.contiguous(memory_format=torch.channels_last))
        wide = interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        features = relu(self.joined(torch.cat([fine, wide], 1)))
        heat = self.heat(features).flatten(2).log_softmax(2)
        return Seen(heat, features.flatten(2).mT)


class Block(nn.Module):
    """Two convolutions beside a skip connection (He et al., CVPR 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = _norm(width)

    def forward(self, x: Float[Tensor, "B width H W"]) -> Float[Tensor, "B width H W"]:
        return relu(x + self.norm(self.second(self.first(x))))


def cell_centres() -> Float[Tensor, "192 2"]:
    """Middles of the grid's cells in crop units, row by row: x and y, 0 in the middle of the crop."""
    rows, columns = GRID
    y = (torch.arange(rows) + 0.5) / rows - 0.5
    x = ((torch.arange(columns) + 0.5) / columns - 0.5) * columns / rows
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], 1)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, _norm(outputs), nn.ReLU())


def _norm(width: int) -> nn.GroupNorm:
    """Not over the batch: what is learned must not depend on how many workers share one."""
    return nn.GroupNorm(max(1, width // _CHANNELS_A_GROUP), width)
