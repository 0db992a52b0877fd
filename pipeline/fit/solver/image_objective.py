"""What people are fitted to from their keypoints: the data of the objective's terms and their batched torch form.

The torch form serves the GPU and checks `pipeline.fit.solver.compiled_terms`, where each term is described.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.solver.orientation import PelvisOrientation, spin_jacobian
from pipeline.fit.solver.targets import Common, Kernel, People, Targets
from pipeline.image.camera import project, projection_jacobian
from pipeline.numerics.levenberg_marquardt import Linearised
from schemas.keypoints import PELVIS
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED

CAM = N_Q + N_BETAS
"""x = q (46), betas (10), tx, ty, log tz."""


@dataclass(frozen=True, kw_only=True)
class ImageObjective:
    """The terms of B people's objectives, see `Targets`. Tensors have B rows, the rest holds for everyone."""

    kernel: Kernel
    position: Float[Tensor, "B 44 2"]
    weight: Float[Tensor, "B 44"]
    unit: Float[Tensor, "B"]
    focal: Float[Tensor, "B"]
    points_3d: Float[Tensor, "B P 3"]
    weight_3d: Float[Tensor, "B P 3"]
    kernel_3d: float
    anchor: Float[Tensor, "B O 59"]
    precision: Float[Tensor, "B O 59"]
    softness: Float[Tensor, "B O"]
    range_pull: float
    joint_limits: tuple[Float[Tensor, "46"], Float[Tensor, "46"]]

    def of(self, people: Int[Tensor, "A"]) -> "ImageObjective":
        """The same objective of some of the people."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: x[people] for name, x in tensors.items() if isinstance(x, Tensor)})

    def targets(self) -> Targets:
        """For the compiled solver."""
        limits = torch.stack(self.joint_limits).numpy()
        return Targets(
            People(*(getattr(self, name).contiguous().numpy() for name in People._fields)),
            Common(int(self.kernel), float(self.kernel_3d), float(self.range_pull), limits),
        )


def cam_t_of(x: Float[Tensor, "B 59"]) -> Float[Tensor, "B 3"]:
    """Camera translation; the depth stays positive."""
    return torch.cat([x[:, CAM : CAM + 2], torch.exp(x[:, CAM + 2 :].clamp(-3, 8))], 1)


def linearise(
    skel: Skel, orientation: PelvisOrientation, x: Float[Tensor, "A 59"], terms: ImageObjective, scale: float
) -> Linearised:
    """Cost, gradient and normal matrix of the sum of the terms; `scale` is the stage's kernel scale."""
    q, betas, cam_t = x[:, :N_Q], x[:, N_Q:CAM], cam_t_of(x)
    found = skel.keypoints_and_jacobian(q, betas)
    body = spin_jacobian(skel.rig, found, betas)
    parts = [_image(found.points, body, cam_t, terms, scale)]
    parts += [_hold(x, terms, opinion, orientation) for opinion in range(terms.anchor.shape[1])]
    if terms.points_3d.shape[1]:
        parts.append(_space(found.points, body, terms))
    if terms.range_pull > 0:
        parts.append(_range_pull(x, terms))
    return Linearised(
        torch.stack([p.cost for p in parts]).sum(0),
        torch.stack([p.gradient for p in parts]).sum(0),
        torch.stack([p.normal for p in parts]).sum(0),
    )


def image_jacobian(
    skel: Skel, x: Float[Tensor, "A 59"], focal: Float[Tensor, "A"]
) -> tuple[Float[Tensor, "A 44 2"], Float[Tensor, "A 44 2 59"]]:
    """Where the keypoints of x fall, crop units, and the derivatives of that by the unknowns."""
    found, cam_t = skel.keypoints_and_jacobian(x[:, :N_Q], x[:, N_Q:CAM]), cam_t_of(x)
    body = spin_jacobian(skel.rig, found, x[:, N_Q:CAM])
    return project(found.points, cam_t, focal), _projected(found.points, body, cam_t, focal)


def _projected(points: Tensor, body: Tensor, cam_t: Tensor, focal: Tensor) -> Tensor:
    slope = projection_jacobian(points, cam_t, focal)
    by_cam = torch.cat([slope[..., :2], slope[..., 2:] * cam_t[:, None, None, 2:]], -1)
    return torch.cat([slope @ body, by_cam], -1)


def _least_squares(cost: Tensor, jacobian: Tensor, residual: Tensor, pull: Tensor) -> Linearised:
    """jacobian (A, K, D, 59), residual and pull (A, K, D): gradient and normal matrix of the reweighted squares."""
    weighted = (jacobian * pull[..., None]).flatten(1, 2)
    gradient = (weighted.mT @ residual.flatten(1)[..., None]).squeeze(-1)
    return Linearised(cost, gradient, weighted.mT @ jacobian.flatten(1, 2))


def _image(points: Tensor, body: Tensor, cam_t: Tensor, terms: ImageObjective, scale: float) -> Linearised:
    jacobian = _projected(points, body, cam_t, terms.focal)
    residual = project(points, cam_t, terms.focal) - terms.position
    squared = residual.square()
    far = squared if terms.kernel == Kernel.IMAGE_PER_AXIS else squared.sum(-1, keepdim=True)
    squares = (scale * terms.unit).square()[:, None, None]
    half = squares / (squares + far)
    weight = terms.weight[..., None]
    cost = (weight * half * squared).sum((1, 2))
    return _least_squares(cost, jacobian, residual, weight * half**2)


def _space(points: Tensor, body: Tensor, terms: ImageObjective) -> Linearised:
    relative = points - points[:, PELVIS : PELVIS + 1]
    jacobian = body - body[:, PELVIS : PELVIS + 1]
    jacobian = torch.cat([jacobian, jacobian.new_zeros(*jacobian.shape[:-1], 3)], -1)
    residual = relative - terms.points_3d
    squared = (terms.weight_3d * residual.square()).sum(-1)
    half = terms.kernel_3d**2 / (terms.kernel_3d**2 + squared)
    return _least_squares((half * squared).sum(1), jacobian, residual, terms.weight_3d * half[..., None] ** 2)


def _hold(x: Tensor, terms: ImageObjective, opinion: int, orientation: PelvisOrientation) -> Linearised:
    anchor, precision = terms.anchor[:, opinion], terms.precision[:, opinion]
    turned = orientation.between(x[:, :N_Q], anchor[:, :N_Q])
    away = torch.cat([turned, (x - anchor)[:, N_UNLIMITED:]], 1)
    squared = precision * away.square()
    far = squared.clone()
    far[:, :N_UNLIMITED], far[:, N_Q:] = squared[:, :N_UNLIMITED].sum(1, keepdim=True), 0
    half = 1 / (1 + terms.softness[:, opinion, None] * far)
    weight = precision * half.square()
    return Linearised((half * squared).sum(-1), weight * away, torch.diag_embed(weight))


def _range_pull(x: Tensor, terms: ImageObjective) -> Linearised:
    low, high = (limit[N_UNLIMITED:] for limit in terms.joint_limits)
    q = x[:, N_UNLIMITED:N_Q]
    below, above = terms.range_pull * torch.exp(2 * (low - q)), terms.range_pull * torch.exp(2 * (q - high))
    around = (N_UNLIMITED, x.shape[1] - N_Q)
    gradient = torch.nn.functional.pad(above - below, around)
    curvature = torch.nn.functional.pad(2 * (above + below), around)
    return Linearised((below + above).sum(-1), gradient, torch.diag_embed(curvature))
