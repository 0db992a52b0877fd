"""The ViT backbone of ViTPose, HMR2.0 and HSMR: a person crop to 192 tokens, state-dict names as in their checkpoints.

Dosovitskiy et al., ICLR 2021; Xu et al. (ViTPose), NeurIPS 2022. Pre-norm blocks, exact GELU, no dropout; stochastic
depth in training, if asked for.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from trainer.network.drop_path import Paths

PATCH_PX: Final = 16
COLUMNS_CUT: Final = 32
"""Columns of the 256 px crop left out on each side: the network sees 256 x 192."""
GRID: Final = (16, 12)
"""Rows and columns of tokens."""
N_TOKENS: Final = GRID[0] * GRID[1]

Patches = Float[Tensor, "B 3 256 256"]
Tokens = Float[Tensor, "B tokens D"]
"""N_TOKENS of the ViT, a keypoint each of the keypoint net."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VitConfig:
    """Width, number of blocks and attention heads; `heads` must divide `dim`."""

    dim: int
    depth: int
    heads: int
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"vit.heads={self.heads} does not divide vit.dim={self.dim}")


class Vit(nn.Module):
    """Normalised crop (B, 3, 256, 256) to tokens (B, 192, dim), row by row.

    recompute: keep only the input of each block and compute the block again in the backward pass (less memory, a third
    more work).
    """

    def __init__(self, config: VitConfig, *, recompute: bool = False):
        super().__init__()
        self.recompute = recompute
        self.patch_embed = PatchEmbed(config.dim)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1 + N_TOKENS, config.dim), std=0.02))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.last_norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.apply(_initialise)

    def freeze(self) -> None:
        """Keep all weights as they are."""
        self.requires_grad_(False)

    def forward(self, patches: Patches, paths: Paths | None = None) -> Tokens:
        """paths: what the branches of the blocks count, in training with stochastic depth; else they all count."""
        middle = patches[..., COLUMNS_CUT:-COLUMNS_CUT].to(self.pos_embed.dtype)
        # The first position belongs to the class token of pre-training, which is gone; upstream adds it everywhere.
        x = self.patch_embed(middle) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for number, block in enumerate(self.blocks):
            told = (x,) if paths is None else (x, paths[:, number])
            x = checkpoint(block, *told, use_reentrant=False) if self.recompute and self.training else block(*told)
        return self.last_norm(x)


class PatchEmbed(nn.Module):
    """Convolution with stride 16 and padding 2 (ViTPose's 4 + 2 * (ratio // 2 - 1) at ratio 1)."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH_PX, stride=PATCH_PX, padding=2)

    def forward(self, image: Float[Tensor, "B 3 256 192"]) -> Tokens:
        return self.proj(image).flatten(2).mT


class Block(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)); each branch times what it counts for each person."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = Attention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = Mlp(config.dim, config.dim * config.mlp_ratio)

    def forward(self, x: Tokens, counts: Float[Tensor, "B 2"] | None = None) -> Tokens:
        if counts is None:
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        attention, mlp = counts[:, :, None, None].unbind(1)
        x = x + attention * self.attn(self.norm1(x))
        return x + mlp * self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention; rows of `qkv` are all queries, then all keys, then all values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tokens) -> Tokens:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tokens) -> Tokens:
        return self.fc2(self.act(self.fc1(x)))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
