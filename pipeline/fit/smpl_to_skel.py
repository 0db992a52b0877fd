"""SMPL to SKEL: q, betas and trans whose skin is nearest to an SMPL mesh, every frame an independent problem.

  mean_v (d_v^2 + d_v^4 / (2 worst_scale^2)) / vertex_noise^2 with d_v = |skin_v - smpl_v|
  + |(q - q_start) / pose_std|^2 + |(betas - betas_smpl) / betas_std|^2, inside the joint limits.

Started from one rigid motion per bone in closed form. The vertex term is taken on the means of surface patches, a few
hundred points by the collapsed operator: the PVE so reached is within 1 % of the optimum over all vertices (measured:
docs/performance.md). The reported PVE is that of the whole mesh.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.body.smpl import Smpl
from pipeline.fit.solver.compiled_solver import Stage, solve
from pipeline.fit.solver.joint_limits import fit_bounds
from pipeline.fit.solver.orientation import PelvisOrientation, spin_jacobian
from pipeline.fit.solver.posterior import Estimate, q_standard_deviation
from pipeline.fit.solver.solver_dtype import in_solver_dtype
from pipeline.fit.solver.targets import Common, Kernel, People, Targets
from pipeline.fit.surface.bone_motion import bone_rotations_to_q
from pipeline.fit.surface.surface_patches import SurfacePatches
from pipeline.numerics.error_metrics import pve_mm
from pipeline.numerics.levenberg_marquardt import Linearised, LmConfig, Minimum, minimise
from schemas.labels import POOR_FIT_MM
from schemas.skel import N_BETAS, N_Q

_AT_ONCE, _AT_ONCE_ON_GPU = 64, 4096  # frames; their two meshes weigh 160 KB each
_TRANS = N_Q + N_BETAS  # x = q (46), betas (10), trans (3)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmplToSkelConfig:
    """Weights of the objective, each the standard deviation of what it holds."""

    vertex_noise: float = 0.001  # m, of the root mean square distance over the mesh
    worst_scale: float = 0.03  # m; points this far off pull twice as hard, which halves the share of bad frames
    pose_std: float = 2.0  # rad, to the start: only what the mesh does not tell
    betas_std: float = 2.0  # to the SMPL betas
    n_patches: int = 150
    max_iterations: int = 60
    poor_fit_mm: float = POOR_FIT_MM  # a PVE max above this flags the frame


class SmplToSkelResult(NamedTuple):
    """One value per frame: q (B, 46) rad, betas (B, 10), trans (B, 3) m, PVE (B,) mm after removing the mean
    difference, poor_fit (B,) bool, iterations (B,), q_std (B, 46) rad.
    """

    q: Float[Tensor, "B 46"]
    betas: Float[Tensor, "B 10"]
    trans: Float[Tensor, "B 3"]
    pve_mean_mm: Float[Tensor, "B"]
    pve_max_mm: Float[Tensor, "B"]
    poor_fit: Bool[Tensor, "B"]
    iterations: Int[Tensor, "B"]
    q_std: Float[Tensor, "B 46"]


@dataclass(frozen=True)
class _Problem:
    """Fixed during a fit: patch means of the SMPL mesh (B, P, 3), the start x (B, 59)."""

    patches: Tensor
    start: Tensor

    def of(self, people: Tensor) -> "_Problem":
        return _Problem(self.patches[people], self.start[people])


class SmplToSkel:
    """Converts SMPL poses or meshes to SKEL on the device of the SKEL model; results are in the model's dtype.

    >>> result = SmplToSkel(load_smpl(), load_skel()).fit(pose, betas)   # pose (B, 24, 3) axis-angle rad
    """

    def __init__(self, smpl: Smpl, skel: Skel, config: SmplToSkelConfig | None = None):
        self.skel, self.config, self._solver = skel, config or SmplToSkelConfig(), in_solver_dtype(skel)
        skel = self._solver
        # whole meshes are only posed and compared: float32 is exact to 1e-6 m there and half the memory traffic
        self._smpl, self._skin = smpl.to(skel.device, torch.float32), skel.to(skel.device, torch.float32)
        self._orientation = PelvisOrientation(skel.rig)
        self._patches = SurfacePatches(skel, self.config.n_patches)
        self._bounds = fit_bounds(skel.rig.sources)
        config = self.config
        self._stop = LmConfig(max_iterations=config.max_iterations, relative_tolerance=1e-4, initial_damping=1e-4)
        std = [config.pose_std] * N_Q + [config.betas_std] * N_BETAS + [torch.inf] * 3
        self._precision = skel.rig.sources.new_tensor(std) ** -2

    def fit(self, pose: Float[Tensor, "B 24 3"], betas: Float[Tensor, "B 10"]) -> SmplToSkelResult:
        """Convert SMPL parameters; trans is such that the SMPL mesh has transl = 0.

        Raises ValueError on wrong shapes. A frame that is not finite comes back not finite and flagged.
        """
        pose, betas = (x.to(device=self._solver.device, dtype=torch.float32) for x in (pose, betas))
        return self._in_parts(lambda pose, betas: self._fit_mesh(self._smpl(pose, betas).vertices, betas), pose, betas)

    def fit_mesh(
        self, vertices: Float[Tensor, "B 6890 3"], betas: Float[Tensor, "B 10"], q: Float[Tensor, "B 46"] | None = None
    ) -> SmplToSkelResult:
        """Convert posed SMPL meshes; betas (B, 10) are where the shape starts from and is held to; q: where the pose
        starts from, by default the rigid motion of each bone.
        """
        return self._in_parts(self._fit_mesh, vertices, betas, *(() if q is None else (q,)))

    def _in_parts(self, fit: Callable[..., SmplToSkelResult], *inputs: Tensor) -> SmplToSkelResult:
        """A few frames after the other, so that only their meshes are in memory."""
        at_once = _AT_ONCE_ON_GPU if self._solver.device.type == "cuda" else _AT_ONCE
        parts = [fit(*part) for part in zip(*(values.split(at_once) for values in inputs), strict=True)]
        return SmplToSkelResult(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _fit_mesh(self, vertices: Tensor, betas: Tensor, q: Tensor | None = None) -> SmplToSkelResult:
        vertices = vertices.to(device=self._solver.device, dtype=torch.float32)
        patches = self._patches.of_mesh(vertices)
        problem = _Problem(patches, self._start(patches, betas.to(patches), None if q is None else q.to(patches)))
        return self._result(self._minimise(problem), vertices)

    def _start(self, patches: Tensor, betas: Tensor, q: Tensor | None) -> Tensor:
        if q is None:
            rotations = self._patches.rigid_bone_rotations(patches, betas)
            q = bone_rotations_to_q(self._solver, rotations, betas)
        x = self._bounds.clamp(torch.cat([q, betas, torch.zeros_like(betas[:, :3])], 1))
        away = patches - self._patches.points_and_jacobian(x[:, :N_Q], x[:, N_Q:_TRANS]).points
        x[:, _TRANS:] = (self._patches.share[:, None] * away).sum(1)
        return x

    def _minimise(self, problem: _Problem) -> Estimate:
        """The fit to the patch means: compiled on the CPU, batched tensor operations on a GPU."""
        start, stop = problem.start, self._stop
        if start.is_cuda:
            return Estimate.of(self._minimise_in_torch(problem))
        weight = (self._patches.share / self.config.vertex_noise**2).expand(len(start), -1)
        precision = self._precision.expand(len(start), -1)
        position, weight, precision = (x.contiguous().numpy() for x in (problem.patches, weight, precision))
        no_points, no_limits = position[:, :0], np.zeros((2, N_Q), position.dtype)
        people = People(
            position=position,
            weight=weight,
            unit=np.ones(len(start), position.dtype),
            focal=np.ones(len(start), position.dtype),
            points_3d=no_points,
            weight_3d=no_points,
            anchor=start.numpy()[:, None],
            precision=precision[:, None],
            softness=np.zeros((len(start), 1), position.dtype),
        )
        targets = Targets(people, Common(int(Kernel.SURFACE), kernel_3d=1.0, range_pull=0.0, joint_limits=no_limits))
        stages = (Stage(self.config.worst_scale, stop),)
        tables, threads = self._patches.tables, torch.get_num_threads()
        return solve(start, targets, stages, self._orientation, self._bounds, tables, threads)

    def _minimise_in_torch(self, problem: _Problem) -> Minimum:
        def evaluate(x: Tensor, people: Tensor) -> Linearised:
            return self._linearise(x, problem.of(people))

        return minimise(evaluate, self._orientation.retract, problem.start, self._stop, self._bounds)

    def _linearise(self, x: Tensor, problem: _Problem) -> Linearised:
        """The objective with the vertex term on patch means; within a patch the distances are taken as equal."""
        points, jacobian = self._patch_jacobian(x)
        residual = points + x[:, None, _TRANS:] - problem.patches
        squared = residual.square().sum(-1)
        weight = self._patches.share / self.config.vertex_noise**2
        pull = weight * (1 + squared / self.config.worst_scale**2)
        weighted = (jacobian * pull[..., None, None]).flatten(1, 2)
        gradient = (weighted.mT @ residual.flatten(1)[..., None]).squeeze(-1)
        cost = (weight * (squared + squared**2 / (2 * self.config.worst_scale**2))).sum(1)
        return self._with_priors(Linearised(cost, gradient, weighted.mT @ jacobian.flatten(1, 2)), x, problem.start)

    def _patch_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Patch means (A, P, 3) without trans and their Jacobian (A, P, 3, 59) in (spin, q[3:], betas, trans)."""
        betas = x[:, N_Q:_TRANS]
        found = self._patches.points_and_jacobian(x[:, :N_Q], betas)
        by_trans = torch.eye(3, dtype=x.dtype, device=x.device).expand(*found.points.shape, 3)
        return found.points, torch.cat([spin_jacobian(self._solver.rig, found, betas), by_trans], -1)

    def _with_priors(self, data: Linearised, x: Tensor, start: Tensor) -> Linearised:
        q = x[:, :N_Q]
        from_start = x - start
        from_start = torch.cat([self._orientation.between(q, start[:, :N_Q]), from_start[:, 3:]], 1)
        gradient = data.gradient + self._precision * from_start
        cost = data.cost + (self._precision * from_start**2).sum(-1)
        return Linearised(cost, gradient, data.normal + torch.diag(self._precision))

    def _result(self, found: Estimate, vertices: Tensor) -> SmplToSkelResult:
        q, betas = found.x[:, :N_Q], found.x[:, N_Q:_TRANS]
        skin = self._skin(q.float(), betas.float()).skin_vertices
        trans, distance = (vertices - skin).mean(1), pve_mm(skin, vertices).to(q.dtype)
        worst = distance.amax(1)
        poor = ~(worst <= self.config.poor_fit_mm)
        std = q_standard_deviation(found, self._orientation)
        result = SmplToSkelResult(q, betas, trans, distance.mean(1), worst, poor, found.iterations, std)
        return SmplToSkelResult(*(x.to(self.skel.dtype) if x.is_floating_point() else x for x in result))
