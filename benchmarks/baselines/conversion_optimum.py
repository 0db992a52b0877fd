"""The fully converged optimum of the conversion's objective over ALL vertices, in float64, inside the same limits.

Cost and gradient are those of the whole mesh, by autograd; only the curvature that shapes the steps is that of patch
means. Where the projected gradient vanishes is the optimum, whatever shaped the steps.

The same with other penalties, without limits and with a free shape tells how near SKEL can come to an SMPL mesh at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import SmplToSkelConfig
from pipeline.fit.solver.joint_limits import fit_bounds
from pipeline.fit.surface.surface_patches import SurfacePatches
from pipeline.numerics.levenberg_marquardt import Bounds, Linearised, LmConfig, minimise
from schemas.skel import N_BETAS, N_Q

_TRANS = N_Q + N_BETAS
_STOP: Final = LmConfig(max_iterations=60, relative_tolerance=1e-7, step_tolerance=1e-7)
_SMOOTH = 0.0005  # m, rounds off the distance at 0
_FAR = 0.03  # m, unit of the high power


@dataclass(frozen=True)
class Penalty:
    """How a vertex's squared distance s, m^2, counts: value(s), its derivative, and its second (0 where it is negative,
    which the steps leave out).
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    bend: Callable[[Tensor], Tensor]

    @classmethod
    def of_conversion(cls, config: SmplToSkelConfig) -> Self:
        """d^2 + d^4 / (2 worst^2), over noise^2."""
        noise, worst = config.vertex_noise**2, config.worst_scale**2
        return cls(
            lambda s: (s + s.square() / (2 * worst)) / noise,
            lambda s: (1 + s / worst) / noise,
            lambda s: torch.full_like(s, 1 / (worst * noise)),
        )

    @classmethod
    def distance(cls) -> Self:
        """d itself, m, smoothed: the mean over vertices is the PVE mean, or up to 0.5 mm more."""
        return cls(lambda s: (s + _SMOOTH**2).sqrt(), lambda s: 0.5 / (s + _SMOOTH**2).sqrt(), torch.zeros_like)

    @classmethod
    def power(cls, exponent: int) -> Self:
        """(d / 3 cm)^exponent, even: its power mean is at most the PVE max, so its minimum is a bound of it."""
        half, unit = exponent // 2, _FAR**2
        return cls(
            lambda s: (s / unit) ** half,
            lambda s: half * (s / unit) ** (half - 1) / unit,
            lambda s: half * (half - 1) * (s / unit) ** (half - 2) / unit**2,
        )

    @staticmethod
    def distance_of(power: Tensor, exponent: int) -> Tensor:
        """The distance, m, whose `power` penalty is this."""
        return _FAR * power ** (1 / exponent)


@dataclass(frozen=True)
class Optimum:
    """x (B, 59) = q, betas, trans; cost (B,); slack (B,): the share of the cost that a Newton step would still win."""

    x: Tensor
    cost: Tensor
    slack: Tensor


class ConversionObjective:
    """mean_v penalty(|d_v|^2) + |(betas - smpl betas) / std|^2 of the whole mesh; `free`: no limits, no hold on betas.

    The weak hold of the angles to the start (2 rad) is left out: that can only lower the optimum's vertex distance.
    """

    def __init__(self, skel: Skel, config: SmplToSkelConfig, penalty: Penalty | None = None, *, free: bool = False):
        self._skel, self._penalty = skel, penalty or Penalty.of_conversion(config)
        bounds, free_x = fit_bounds(skel.rig.sources), torch.full((_TRANS + 3,), torch.inf).to(skel.rig.sources)
        self._bounds = Bounds(-free_x, free_x) if free else bounds
        self._betas_precision = 0.0 if free else config.betas_std**-2
        self._patches = SurfacePatches(skel, config.n_patches)

    def cost(self, x: Tensor, target: Tensor, betas: Tensor) -> Tensor:
        """(B,) for SMPL meshes target (B, 6890, 3) with betas (B, 10); differentiable."""
        skin = self._skel.forward(x[:, :N_Q], x[:, N_Q:_TRANS], x[:, _TRANS:]).skin_vertices
        squared = (skin - target).square().sum(-1)
        prior = self._betas_precision * (x[:, N_Q:_TRANS] - betas).square().sum(1)
        return self._penalty.value(squared).mean(1) + prior

    def optimum(self, start: Tensor, target: Tensor, betas: Tensor) -> Optimum:
        """The local optimum from x (B, 59)."""

        def linearised(x: Tensor, frames: Tensor) -> Linearised:
            return self._linearised(x, target[frames], betas[frames])

        found = minimise(linearised, lambda x, step: x + step, start, _STOP, self._bounds)
        at = self._linearised(found.x, target, betas)
        free = (~self._bounds.held(found.x, at.gradient)).to(at.gradient)
        normal = at.normal * free[:, :, None] * free[:, None] + torch.diag_embed(1 - free)
        downhill = torch.linalg.solve(normal, (at.gradient * free)[..., None]).squeeze(-1)
        return Optimum(found.x, at.cost, (at.gradient * free * downhill).sum(1) / at.cost)

    def _linearised(self, x: Tensor, target: Tensor, betas: Tensor) -> Linearised:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            cost = self.cost(at, target, betas)
            (slope,) = torch.autograd.grad(cost.sum(), at)
        return Linearised(cost.detach(), slope / 2, self._curvature(x.detach(), target))

    def _curvature(self, x: Tensor, target: Tensor) -> Tensor:
        q, shape = x[:, :N_Q].contiguous(), x[:, N_Q:_TRANS].contiguous()
        points, by_q, by_betas = self._patches.points_and_jacobian(q, shape)
        skin = self._skel.forward(q, shape, x[:, _TRANS:]).skin_vertices
        squared = self._patches.of_mesh((skin - target).square().sum(-1, keepdim=True)).squeeze(-1)
        residual = points + x[:, None, _TRANS:] - self._patches.of_mesh(target)
        by_trans = torch.eye(3).to(x).expand(*points.shape, 3)
        jacobian = torch.cat([by_q, by_betas, by_trans], -1)
        pull, bend = (self._patches.share * f(squared) for f in (self._penalty.slope, self._penalty.bend))
        along = (residual[..., None, :] @ jacobian).squeeze(-2)  # (B, P, 59): high powers are stiffer along it
        normal = (jacobian * pull[..., None, None]).flatten(1, 2).mT @ jacobian.flatten(1, 2)
        normal += 2 * (along * bend[..., None]).mT @ along
        precision = torch.full_like(x[0], 1e-6)
        precision[N_Q:_TRANS] += self._betas_precision
        return normal + torch.diag(precision)
