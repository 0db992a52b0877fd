"""HSMR's joint limits and the range of plausible shapes as bounds of a fit."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.numerics.levenberg_marquardt import Bounds
from schemas.skel import BETAS_LIMIT, N_BETAS, N_UNLIMITED, q_limits


def joint_limits(like: Float[Tensor, "..."]) -> tuple[Float[Tensor, "46"], Float[Tensor, "46"]]:
    """Lowest and highest q, rad, in the dtype and on the device of `like`."""
    low, high = (torch.as_tensor(limit, dtype=like.dtype, device=like.device) for limit in q_limits())
    return low, high


def fit_bounds(like: Float[Tensor, "..."]) -> Bounds:
    """Bounds (59,) of (q, betas, 3 unbounded) in the dtype and on the device of `like`; the pelvis is unbounded too."""
    low, high = joint_limits(like)
    low[:N_UNLIMITED], high[:N_UNLIMITED] = -torch.inf, torch.inf
    shape, free = like.new_full((N_BETAS,), BETAS_LIMIT), like.new_full((3,), torch.inf)
    return Bounds(torch.cat([low, -shape, -free]), torch.cat([high, shape, free]))
