"""Random poses and shapes for tests."""

import torch
from torch import Tensor

from schemas.skel import N_BETAS, N_Q, N_UNLIMITED, q_limits


def limits(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Joint limits (46,) each."""
    low, high = q_limits()
    return torch.as_tensor(low, dtype=dtype), torch.as_tensor(high, dtype=dtype)


def poses_within_limits(count: int, seed: int, share: float = 1.0) -> Tensor:
    """(count, 46) float64, uniform in `share` of every range about its middle; any pelvis orientation."""
    low, high = limits()
    uniform = torch.rand(count, N_Q, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    q = (low + high) / 2 + share * uniform * (high - low)
    q[:, :N_UNLIMITED] = 2 * torch.pi * uniform[:, :N_UNLIMITED] * torch.tensor([1.0, 0.5, 1.0], dtype=torch.float64)
    return q


def upright_poses(count: int, seed: int, share: float = 0.6) -> Tensor:
    """(count, 46): poses within limits of people who stand upright in the image (y down), turned by any angle."""
    q = poses_within_limits(count, seed, share)
    q[:, 0] = -torch.pi + 0.3 * q[:, 0] / torch.pi
    q[:, 1] = 0.2 * q[:, 1]
    return q


def poses_anywhere(count: int, seed: int) -> Tensor:
    """(count, 46) float64, far outside the limits too."""
    return 1.5 * torch.randn(count, N_Q, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shapes(count: int, seed: int, size: float = 1.0) -> Tensor:
    """(count, 10) float64, each |beta| <= size."""
    uniform = torch.rand(count, N_BETAS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return size * (2 * uniform - 1)
