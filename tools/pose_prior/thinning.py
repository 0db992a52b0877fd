"""Fewer poses that are all different: slow motion and the many walkers must not outweigh what is rare."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def distinct(q: Float[Tensor, "B D"], radius: float, seed: int = 0) -> Int[Tensor, "K"]:
    """Rows, in the order of B, of which no two are within `radius` (Euclidean, rad) and every other row is near one.

    Rows are visited in a random order, so what is kept does not lean to the beginning of clips.
    """
    order = torch.randperm(len(q), generator=torch.Generator().manual_seed(seed))
    left, kept = q[order], []
    rows = order
    while len(rows):
        kept.append(rows[0])
        far = (left - left[0]).square().sum(1) > radius**2
        left, rows = left[far], rows[far]
    return torch.stack(kept).sort().values if kept else order
