"""What the workers of a run tell one another besides gradients."""

from typing import Any

import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from trainer.data import JoinCounts
from trainer.training.job import Place


def summed(values: Shaped[Tensor, "..."], place: Place) -> Shaped[Tensor, "..."]:
    """The sum over all ranks, in place."""
    if place.world > 1:
        dist.all_reduce(values)
    return values


def gathered(counts: JoinCounts, place: Place) -> list[JoinCounts]:
    """Those of all ranks."""
    if place.world == 1:
        return [counts]
    found: list[Any] = [None] * place.world
    dist.all_gather_object(found, counts)
    return found
