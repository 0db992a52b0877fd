"""Stochastic depth (Huang et al., ECCV 2016): in training, a person may skip branches of the backbone's blocks.

A branch of block i of n is left out with probability rate * i / (n - 1), as in ViTPose, and counts 1 / (1 - p) where it
is not. Who skips what follows from seed, step and place in the global batch alone: not from ranks or micro-batches.
"""

import hashlib
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

N_BRANCHES: Final = 2  # attention and MLP of a block
Paths = Float[Tensor, "B blocks 2"]
"""What each branch of each block counts for each person: 0 where it is skipped."""


def skip_rates(rate: float, depth: int) -> Float[np.ndarray, "blocks"]:
    """Probability (depth,) that a branch is skipped, from 0 in the first block to `rate` in the last."""
    return np.linspace(0, rate, depth)


def draw_paths(rate: float, depth: int, people: int, *, seed: int, step: int) -> Paths:
    """Of the people of the global batch of a step, float32 on the CPU."""
    text = "\x1f".join(("drop_path", str(seed), str(step)))
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    drawn = np.random.Generator(np.random.Philox(key=key)).random((people, depth, N_BRANCHES))
    keep = 1 - skip_rates(rate, depth)[:, None]
    return torch.from_numpy(np.where(drawn < keep, 1 / keep, 0).astype(np.float32))
