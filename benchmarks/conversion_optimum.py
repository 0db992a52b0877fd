"""The fully converged optimum of the conversion's objective over ALL vertices, in float64, inside the same limits.

Cost and gradient are those of the whole mesh, by autograd; only the curvature that shapes the steps is that of patch
means. Where the projected gradient vanishes is the optimum, whatever shaped the steps.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import SmplToSkelConfig
from pipeline.fit.joint_limits import fit_bounds
from pipeline.fit.surface_patches import SurfacePatches
from pipeline.levenberg_marquardt import Linearised, LmConfig, minimise
from schemas.skel import N_BETAS, N_Q

_TRANS = N_Q + N_BETAS
_STOP: Final = LmConfig(max_iterations=60, relative_tolerance=1e-7, step_tolerance=1e-7)


@dataclass(frozen=True)
class Optimum:
    """x (B, 59) = q, betas, trans; cost (B,); slack (B,): the share of the cost that a Newton step would still win."""

    x: Tensor
    cost: Tensor
    slack: Tensor


class ConversionObjective:
    """mean_v (d^2 + d^4 / (2 worst^2)) / noise^2 + |(betas - smpl betas) / std|^2 of the whole mesh.

    The weak hold of the angles to the start (2 rad) is left out: that can only lower the optimum's vertex distance.
    """

    def __init__(self, skel: Skel, config: SmplToSkelConfig):
        self._skel, self._config, self._bounds = skel, config, fit_bounds(skel.rig.sources)
        self._patches = SurfacePatches(skel, config.n_patches)

    def cost(self, x: Tensor, target: Tensor, betas: Tensor) -> Tensor:
        """(B,) for SMPL meshes target (B, 6890, 3) with betas (B, 10); differentiable."""
        skin = self._skel.forward(x[:, :N_Q], x[:, N_Q:_TRANS], x[:, _TRANS:]).skin_vertices
        squared = (skin - target).square().sum(-1)
        worst, noise = self._config.worst_scale**2, self._config.vertex_noise**2
        prior = ((x[:, N_Q:_TRANS] - betas) / self._config.betas_std).square().sum(1)
        return (squared + squared.square() / (2 * worst)).mean(1) / noise + prior

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
        worst, share = self._config.worst_scale**2, self._patches.share / self._config.vertex_noise**2
        along = (residual[..., None, :] @ jacobian).squeeze(-2)  # (B, P, 59): d^4 is stiffer along the residual
        normal = (jacobian * (share * (1 + squared / worst))[..., None, None]).flatten(1, 2).mT @ jacobian.flatten(1, 2)
        normal += (along * (2 * share / worst)[:, None]).mT @ along
        precision = torch.full_like(x[0], 1e-6)
        precision[N_Q:_TRANS] = self._config.betas_std**-2
        return normal + torch.diag(precision)
