"""How well each joint angle is known: standard deviations from the normal matrix at the optimum (Laplace)."""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.orientation import PelvisOrientation
from pipeline.levenberg_marquardt import Minimum
from schemas.skel import N_Q, N_UNLIMITED


def q_standard_deviation(found: Minimum, orientation: PelvisOrientation) -> Float[Tensor, "B 46"]:
    """Marginal standard deviation of q (B, 46), rad, at most pi; the cost must be in squared standard deviations.

    The first three unknowns of the fit are a spin vector; their covariance is carried over to the Euler angles.
    """
    identity = torch.eye(found.normal.shape[-1], dtype=found.normal.dtype, device=found.normal.device)
    usable = torch.isfinite(found.normal).flatten(1).all(1)[:, None, None]
    factor, info = torch.linalg.cholesky_ex(torch.where(usable, found.normal, identity))
    covariance = torch.cholesky_inverse(torch.where((info == 0)[:, None, None], factor, identity))
    variance = covariance.diagonal(dim1=-2, dim2=-1)[:, :N_Q].clone()
    axes = orientation.euler_axes(torch.nan_to_num(found.x[:, :N_Q]))
    back = torch.linalg.pinv(axes, rtol=1e-3)
    spin = covariance[:, :N_UNLIMITED, :N_UNLIMITED]
    variance[:, :N_UNLIMITED] = (back @ spin @ back.mT).diagonal(dim1=-2, dim2=-1)
    known = (info == 0)[:, None] & usable[:, 0]
    std = torch.where(known, variance.clamp_min(0).sqrt(), torch.full_like(variance, pi))
    return std.clamp_max(pi)
