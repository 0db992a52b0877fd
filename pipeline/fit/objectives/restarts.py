"""Further starts of the published objective, which has many minima, for the people who may sit in a poor one.

A person is started again while their minimum lies well above the least that the angle prior can take, where most of
the objective's value comes from. Who that is depends on nobody else, and the starts are the same ones every time.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.objectives.objective import Solve, Stages
from pipeline.fit.solver.image_objective import CAM, ImageObjective
from pipeline.fit.solver.posterior import Estimate
from schemas.skel import N_UNLIMITED

_PERTURBED_BY = 0.2  # rad, standard deviation, also of shape; a tenth of it, m, for the camera


class Passes(NamedTuple):
    """fine: from a start. coarse: for keypoints that weigh less. search: near enough to a minimum to compare it. last:
    from there on.
    """

    fine: Stages
    coarse: Stages
    search: Stages
    last: Stages


def lowest(terms: ImageObjective, start: Float[Tensor, "B 59"], solve: Solve, passes: Passes, above: float) -> Estimate:
    """The minimum from `start`, or a lower one for those whose minimum is more than `above` over the least value.

    Two further starts are fitted coarsely to keypoints that weigh less: the priors are convex, so fewer minima are
    left. The third is the first start, moved. Most of a fit's evaluations go into its last digits, which only a start
    that is lower than the first gets. iterations: the evaluations of all but the coarse passes together.
    """

    def tempered(share: float, terms: ImageObjective, x: Tensor) -> Tensor:
        return solve(replace(terms, weight=share * terms.weight), x, passes.coarse).x

    restarts: tuple[Callable[[ImageObjective, Tensor], Tensor], ...] = (
        lambda terms, first: tempered(0.1, terms, first),
        lambda terms, first: tempered(0.01, terms, first),
        lambda terms, first: first + _perturbation(first),
    )
    first, least = solve(terms, start, passes.fine), _least_angle_prior(terms)
    found = first
    for restart in restarts:
        rows = torch.nonzero(found.cost > least + above).squeeze(1)
        theirs, before = terms.of(rows), found.rows(rows)
        again = solve(theirs, restart(theirs, start[rows]), passes.search)
        better = again.where(again.cost < before.cost, before)
        found = found.replaced(rows, replace(better, iterations=before.iterations + again.iterations))
    rows = torch.nonzero(found.cost < first.cost).squeeze(1)
    before = found.rows(rows)
    last = solve(terms.of(rows), before.x, passes.last)
    return found.replaced(rows, replace(last, iterations=before.iterations + last.iterations))


def _perturbation(like: Tensor) -> Tensor:
    normal = torch.randn(like.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal[CAM:] *= 0.1
    return _PERTURBED_BY * normal.to(like)


def _least_angle_prior(terms: ImageObjective) -> Tensor:
    """min over q of range_pull * (exp(2 (low - q)) + exp(2 (q - high))), in the middle of every range."""
    low, high = (limit[N_UNLIMITED:] for limit in terms.joint_limits)
    return terms.range_pull * 2 * torch.exp(low - high).sum()
