"""Further starts of the published objective, which has many minima, for the people who may sit in a poor one.

A person is started again while their minimum lies well above the least that the angle prior can take, where most of
the objective's value comes from. Who that is depends on nobody else, and the starts are the same ones every time.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.compiled_solver import Stage
from pipeline.fit.image_objective import CAM, ImageObjective
from pipeline.fit.posterior import Estimate
from schemas.skel import N_UNLIMITED

Stages = tuple[Stage, ...]
Solve = Callable[[ImageObjective, Tensor, Stages], Estimate]
"""(terms of A people, start x (A, 59), stages) -> their minima."""
_Restart = Callable[[ImageObjective, Tensor, Tensor], Tensor]
"""(terms of A people, first start, lowest minimum so far) -> another start."""

_PERTURBATIONS, _PERTURBED_BY = 2, 0.2  # rad, standard deviations of shape; a tenth of it, m, for the camera


def lowest(
    terms: ImageObjective,
    start: Float[Tensor, "B 59"],
    found: Estimate,
    solve: Solve,
    coarse: Stages,
    fine: Stages,
    above: float,
) -> Estimate:
    """The lower of `found` and what further starts give those who are more than `above` over the least value.

    The first two starts are fitted coarsely to keypoints that weigh less: the priors are convex, so fewer minima are
    left. The others are the first start, moved. iterations: the evaluations of all fine passes together.
    """

    def tempered(share: float, terms: ImageObjective, x: Tensor) -> Tensor:
        return solve(replace(terms, weight=share * terms.weight), x, coarse).x

    restarts: list[_Restart] = [
        lambda terms, first, lowest: tempered(0.1, terms, lowest),
        lambda terms, first, lowest: tempered(0.01, terms, first),
        *(lambda terms, first, lowest, by=by: first + by for by in _perturbations(start)),
    ]
    least = _least_angle_prior(terms)
    for restart in restarts:
        rows = torch.nonzero(found.cost > least + above).squeeze(1)
        theirs, before = terms.of(rows), found.rows(rows)
        again = solve(theirs, restart(theirs, start[rows], before.x), fine)
        better = again.where(again.cost < before.cost, before)
        found = found.replaced(rows, replace(better, iterations=before.iterations + again.iterations))
    return found


def _perturbations(like: Tensor) -> Tensor:
    normal = torch.randn(_PERTURBATIONS, like.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal[:, CAM:] *= 0.1
    return _PERTURBED_BY * normal.to(like)


def _least_angle_prior(terms: ImageObjective) -> Tensor:
    """min over q of range_pull * (exp(2 (low - q)) + exp(2 (q - high))), in the middle of every range."""
    low, high = (limit[N_UNLIMITED:] for limit in terms.joint_limits)
    return terms.range_pull * 2 * torch.exp(low - high).sum()
