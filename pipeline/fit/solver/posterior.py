"""How well each joint angle is known: standard deviations from the normal matrix at the optimum (Laplace)."""

from dataclasses import dataclass
from math import pi
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.numerics.levenberg_marquardt import Minimum
from schemas.skel import N_Q, N_UNLIMITED


@dataclass(frozen=True)
class Estimate:
    """Where fits ended, and the part of the inverse normal matrix that their standard deviations need.

    variance of q, whose first three entries are a spin vector, and the spin's covariance; infinite where the matrix is
    not positive. The matrix itself, 28 KB a person, is not kept.
    """

    x: Float[Tensor, "B 59"]
    cost: Float[Tensor, "B"]
    variance: Float[Tensor, "B 46"]
    spin: Float[Tensor, "B 3 3"]
    iterations: Int[Tensor, "B"]

    @classmethod
    def of(cls, found: Minimum) -> Self:
        """From whole normal matrices."""
        identity = torch.eye(found.normal.shape[-1], dtype=found.normal.dtype, device=found.normal.device)
        factor, info = torch.linalg.cholesky_ex(found.normal)
        known = ((info == 0) & torch.isfinite(factor).flatten(1).all(1))[:, None, None]
        covariance = torch.cholesky_inverse(torch.where(known, factor, identity))
        covariance = torch.where(known, covariance, torch.inf)
        spin = covariance[:, :N_UNLIMITED, :N_UNLIMITED].clone()
        variance = covariance.diagonal(dim1=-2, dim2=-1)[:, :N_Q].clone()
        return cls(found.x, found.cost, variance, spin, found.iterations)

    def rows(self, rows: Int[Tensor, "A"]) -> Self:
        """Those of some of the people."""
        return type(self)(*(x[rows] for x in vars(self).values()))

    def replaced(self, rows: Int[Tensor, "A"], by: Self) -> Self:
        """With the rows of some of the people replaced."""
        pairs = zip(vars(self).values(), vars(by).values(), strict=True)
        return type(self)(*(old.index_copy(0, rows, new) for old, new in pairs))

    def where(self, chosen: Bool[Tensor, "B"], other: Self) -> Self:
        """This estimate for the chosen people, the other one for the rest."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


def q_standard_deviation(found: Estimate, orientation: PelvisOrientation) -> Float[Tensor, "B 46"]:
    """Marginal standard deviation of q (B, 46), rad, at most pi; the cost must be in squared standard deviations.

    The first three unknowns of the fit are a spin vector; their covariance is carried over to the Euler angles.
    """
    known = torch.isfinite(found.spin).flatten(1).all(1, keepdim=True)
    spin = torch.where(known[..., None], found.spin, 0)
    back = torch.linalg.pinv(orientation.euler_axes(torch.nan_to_num(found.x[:, :N_Q])), rtol=1e-3)
    euler = (back @ spin @ back.mT).diagonal(dim1=-2, dim2=-1)
    variance = torch.cat([euler, found.variance[:, N_UNLIMITED:]], 1)
    return torch.where(known, variance.clamp_min(0).sqrt(), pi).clamp_max(pi)
