"""Levenberg-Marquardt over a batch of independent people.

Every person has their own damping, acceptance and convergence; those who have converged leave the batch. Nothing of one
person's arithmetic reads another's, so a result does not depend on who shares the batch.

Bounds are held exactly by projection (Bertsekas 1982): unknowns that sit at a bound and would leave it are taken out of
the step. Those that a step would carry past a bound are moved just to it, and the others solved for again, so that they
know of it: half the evaluations of merely clamping. A stiff penalty instead makes every step that touches a bound fail.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Linearised:
    """cost (B,) = sum of squares; gradient (B, n) = J^T r (half the cost's gradient); normal (B, n, n) = J^T J.

    With a robust kernel, cost is the true robust cost and J, r carry its weights.
    """

    cost: Float[Tensor, "A"]
    gradient: Float[Tensor, "A n"]
    normal: Float[Tensor, "A n n"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LmConfig:
    """When to stop and how to damp."""

    max_iterations: int = 30
    relative_tolerance: float = 1e-7  # of the cost, in one accepted step
    step_tolerance: float = 1e-6  # largest entry of an accepted step
    initial_damping: float = 1e-3  # times the diagonal of the normal matrix


@dataclass(frozen=True)
class Bounds:
    """low, high (n,) on x, infinite where free. An unknown with a bound must move by plain addition of its step."""

    low: Float[Tensor, "n"]
    high: Float[Tensor, "n"]

    def clamp(self, x: Float[Tensor, "A n"]) -> Float[Tensor, "A n"]:
        """x moved inside."""
        return torch.maximum(torch.minimum(x, self.high), self.low)

    def held(self, x: Float[Tensor, "A n"], gradient: Float[Tensor, "A n"]) -> Bool[Tensor, "A n"]:
        """Entries that sit at a bound and that the gradient would push out."""
        return ((x <= self.low) & (gradient > 0)) | ((x >= self.high) & (gradient < 0))


@dataclass(frozen=True)
class Minimum:
    """x (B, n), its cost (B,), the undamped normal matrix there (B, n, n), and evaluations used (B,)."""

    x: Float[Tensor, "B n"]
    cost: Float[Tensor, "B"]
    normal: Float[Tensor, "B n n"]
    iterations: Int[Tensor, "B"]


Evaluate = Callable[[Float[Tensor, "A n"], Int[Tensor, "A"]], Linearised]
"""(x (A, n), people (A,) int64) -> Linearised: `people` says which of the batch the rows are."""
Retract = Callable[[Float[Tensor, "A n"], Float[Tensor, "A n"]], Float[Tensor, "A n"]]
"""(x (A, n), step (A, n)) -> x moved by the step."""

BOUND_ROUNDS = 5
"""How often the step is solved for again because unknowns met a bound; what is left after that is clamped."""

_MAX_DAMPING = 1e8


def minimise(
    evaluate: Evaluate,
    retract: Retract,
    start: Float[Tensor, "B n"],
    config: LmConfig | None = None,
    bounds: Bounds | None = None,
) -> Minimum:
    """Minimise each person's cost from `start`. Damping follows Nielsen (1999); no step that raises a cost is taken."""
    config = config or LmConfig()
    people = torch.arange(len(start), device=start.device)
    bounds = bounds or _unbounded(start)
    start = bounds.clamp(start)
    at = evaluate(start, people)
    found = Minimum(start.clone(), at.cost.clone(), at.normal.clone(), torch.ones_like(people))
    x, damping, growth = start, torch.full_like(at.cost, config.initial_damping), torch.full_like(at.cost, 2.0)
    for _ in range(config.max_iterations):
        if len(people) == 0:
            break
        step, predicted = _step(at, damping, x, bounds)
        trial = bounds.clamp(retract(x, step))
        there = evaluate(trial, people)
        drop = at.cost - there.cost
        better = (drop > 0) & torch.isfinite(there.cost)
        done = _converged(at, drop, predicted, step, better, damping, config)
        x, at = torch.where(better[:, None], trial, x), _pick(better, there, at)
        ratio = (drop / predicted.clamp_min(torch.finfo(x.dtype).tiny)).clamp(-1, 2)
        shrink = (1 - (2 * ratio - 1) ** 3).clamp_min(1 / 3)
        damping = torch.where(better, damping * shrink, damping * growth)
        growth = torch.where(better, torch.full_like(growth, 2.0), growth * 2)
        _store(found, people, x, at)
        stay = ~done
        people, x, damping, growth = people[stay], x[stay], damping[stay], growth[stay]
        at = Linearised(at.cost[stay], at.gradient[stay], at.normal[stay])
    return found


def _unbounded(start: Tensor) -> Bounds:
    infinite = torch.full_like(start[0] if len(start) else start.new_empty(start.shape[1]), torch.inf)
    return Bounds(-infinite, infinite)


def _step(at: Linearised, damping: Float[Tensor, "A"], x: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Step inside the bounds and the drop in cost it predicts; a zero step where the matrix is not positive."""
    fixed, fixed_step = bounds.held(x, at.gradient), torch.zeros_like(x)
    step = torch.zeros_like(x)
    for _ in range(BOUND_ROUNDS):
        step = _free_step(at, damping, fixed, fixed_step)
        there = x + step
        leaving = ~fixed & ((there < bounds.low) | (there > bounds.high))
        if not leaving.any():
            break
        fixed, fixed_step = fixed | leaving, torch.where(leaving, bounds.clamp(there) - x, fixed_step)
    predicted = -(2 * at.gradient * step).sum(-1) - (step * (at.normal @ step[..., None]).squeeze(-1)).sum(-1)
    return step, predicted


def _free_step(at: Linearised, damping: Float[Tensor, "A"], fixed: Tensor, fixed_step: Tensor) -> Tensor:
    """The damped Gauss-Newton step of the free unknowns when the fixed ones move by fixed_step."""
    diagonal = at.normal.diagonal(dim1=-2, dim2=-1)
    floor = diagonal.amax(-1, keepdim=True) * (4 * torch.finfo(diagonal.dtype).eps)
    free = (~fixed).to(diagonal.dtype)
    damped = at.normal * free[:, :, None] * free[:, None, :]
    damped = damped + torch.diag_embed(damping[:, None] * diagonal + floor + fixed * diagonal)
    factor, info = torch.linalg.cholesky_ex(damped)
    right = (at.gradient + (at.normal @ fixed_step[..., None]).squeeze(-1)) * free
    step = torch.where(fixed, fixed_step, -torch.cholesky_solve(right[..., None], factor).squeeze(-1))
    usable = (info == 0) & torch.isfinite(step).all(-1)
    return torch.where(usable[:, None], step, torch.zeros_like(step))


def _converged(
    at: Linearised, drop: Tensor, predicted: Tensor, step: Tensor, better: Tensor, damping: Tensor, config: LmConfig
) -> Tensor:
    small_drop = better & (drop <= config.relative_tolerance * at.cost)
    small_step = step.abs().amax(-1) <= config.step_tolerance
    hopeless = (predicted >= 0) & (predicted <= config.relative_tolerance * at.cost * 1e-3)
    return small_drop | small_step | hopeless | (damping > _MAX_DAMPING) | ~torch.isfinite(at.cost)


def _pick(better: Tensor, there: Linearised, at: Linearised) -> Linearised:
    return Linearised(
        torch.where(better, there.cost, at.cost),
        torch.where(better[:, None], there.gradient, at.gradient),
        torch.where(better[:, None, None], there.normal, at.normal),
    )


def _store(found: Minimum, people: Int[Tensor, "A"], x: Tensor, at: Linearised) -> None:
    found.x[people], found.cost[people], found.normal[people] = x, at.cost, at.normal
    found.iterations[people] += 1
