"""Baseline of `skelify`: the published refiner as docs/objectives.md states it, on torch's LBFGS.

One phase, ten LBFGS steps of 20 iterations (at most 25 evaluations each) over camera, orientation, body and shape of
the whole batch TOGETHER: the loss is the mean over the batch. Gradients by autograd, through the full mesh as published
or through the collapsed keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from benchmarks.baselines.published_objective import objective_terms
from benchmarks.made.people import Bodies
from pipeline.body import Skel
from schemas.skel import N_UNLIMITED

OUTER_STEPS: Final = 10
_GRADIENT_TOLERANCE, _CHANGE_TOLERANCE = 1e-7, 1e-9

Points = Callable[[Tensor, Tensor], Tensor]
"""(q, betas) -> the 44 keypoints (B, 44, 3)."""


@dataclass(frozen=True)
class LbfgsFit:
    """Where it ended, and how many evaluations of the whole batch and outer steps it took."""

    bodies: Bodies
    evaluations: int
    outer_steps: int


def full_mesh(skel: Skel) -> Points:
    """Keypoints as published: pose all 6890 vertices, then regress."""
    regressor = torch.as_tensor(skel.arrays.keypoint_regressor).to(skel.template)
    return lambda q, betas: regressor @ skel.forward(q, betas).skin_vertices


def refine(points: Points, keypoints: Tensor, start: Bodies, outer_steps: int = OUTER_STEPS) -> LbfgsFit:
    """Run the refiner; stops early as published, when a step's loss or gradient hardly changes."""
    cam_t, orient, body, betas = (
        part.clone().requires_grad_()
        for part in (start.cam_t, start.q[:, :N_UNLIMITED], start.q[:, N_UNLIMITED:], start.betas)
    )
    parameters = [cam_t, orient, body, betas]
    optimizer = torch.optim.LBFGS(
        parameters,
        lr=1,
        max_iter=20,
        history_size=100,
        line_search_fn="strong_wolfe",
        tolerance_grad=_GRADIENT_TOLERANCE,
        tolerance_change=_CHANGE_TOLERANCE,
    )
    evaluations = 0

    def loss() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        q = torch.cat([orient, body], 1)
        value = objective_terms(points(q, betas), q, betas, cam_t, keypoints).sum(1).mean()
        value.backward()
        return value

    previous, steps = torch.inf, 0
    for _ in range(outer_steps):
        at_start = optimizer.step(loss).item()
        steps += 1
        if _settled(previous, at_start, parameters):
            break
        previous = at_start
    return LbfgsFit(Bodies(torch.cat([orient, body], 1).detach(), betas.detach(), cam_t.detach()), evaluations, steps)


def _settled(previous: float, now: float, parameters: list[Tensor]) -> bool:
    """As published: the loss at the START of each step is compared, and max comes before abs in the gradient test."""
    small_change = abs(previous - now) / max(abs(previous), abs(now), 1.0) < _CHANGE_TOLERANCE
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return small_change or all(abs(float(gradient.max())) < _GRADIENT_TOLERANCE for gradient in gradients)
