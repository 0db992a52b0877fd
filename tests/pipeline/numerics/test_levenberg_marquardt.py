"""The solver: never worse, inside its bounds, one person at a time whatever the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.numerics.levenberg_marquardt import Bounds, Evaluate, Linearised, LmConfig, minimise

N = 5


def curve_problem(seed: int, people: int) -> Evaluate:
    """Residuals A x + sin(B x) - y of each person: smooth, with several minima."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(people, 2 * N, N, generator=generator, dtype=torch.float64) for _ in range(2))
    y = 3 * torch.randn(people, 2 * N, generator=generator, dtype=torch.float64)

    def evaluate(x: Tensor, who: Tensor) -> Linearised:
        ax, bx = ((m[who] @ x[..., None]).squeeze(-1) for m in (a, b))
        residual = ax + torch.sin(bx) - y[who]
        jacobian = a[who] + torch.cos(bx)[..., None] * b[who]
        gradient = (jacobian.mT @ residual[..., None]).squeeze(-1)
        return Linearised(residual.square().sum(1), gradient, jacobian.mT @ jacobian)

    return evaluate


def plus(x: Tensor, step: Tensor) -> Tensor:
    return x + step


def start_of(seed: int, people: int) -> Tensor:
    return 2 * torch.randn(people, N, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)


@given(st.integers(0, 2**31), st.integers(0, 12))
@settings(max_examples=30)
def test_cost_never_rises_with_more_iterations(seed: int, iterations: int) -> None:
    evaluate, start = curve_problem(seed, 6), start_of(seed, 6)
    before = evaluate(start, torch.arange(6)).cost
    fewer = minimise(evaluate, plus, start, LmConfig(max_iterations=iterations))
    more = minimise(evaluate, plus, start, LmConfig(max_iterations=iterations + 1))
    assert (fewer.cost <= before).all()
    assert (more.cost <= fewer.cost).all()
    assert torch.equal(fewer.cost, evaluate(fewer.x, torch.arange(6)).cost)


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_bounds_are_exact_and_the_gradient_vanishes_in_free_directions(seed: int) -> None:
    evaluate, start = curve_problem(seed, 6), start_of(seed, 6)
    bounds = Bounds(torch.full((N,), -0.5).double(), torch.tensor([0.5, 0.25, torch.inf, 0.5, 0.0]).double())
    config = LmConfig(max_iterations=300, relative_tolerance=1e-14, step_tolerance=1e-10)
    found = minimise(evaluate, plus, start, config, bounds)
    assert (found.x >= bounds.low).all()
    assert (found.x <= bounds.high).all()
    at = evaluate(found.x, torch.arange(6))
    free = ~bounds.held(found.x, at.gradient)
    scale = at.normal.diagonal(dim1=-2, dim2=-1).sqrt() * at.cost.sqrt()[:, None]
    assert ((at.gradient / scale).abs() * free).max() < 1e-4


def test_linear_problem_with_bounds_is_solved_exactly() -> None:
    """Against a projected-gradient solution of the same convex problem."""
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(1, 12, N, generator=generator, dtype=torch.float64)
    y = 4 * torch.randn(1, 12, generator=generator, dtype=torch.float64)

    def evaluate(x: Tensor, who: Tensor) -> Linearised:
        residual = (a[who] @ x[..., None]).squeeze(-1) - y[who]
        gradient = (a[who].mT @ residual[..., None]).squeeze(-1)
        return Linearised(residual.square().sum(1), gradient, a[who].mT @ a[who])

    bounds = Bounds(torch.full((N,), -0.3).double(), torch.full((N,), 0.3).double())
    found = minimise(evaluate, plus, torch.zeros(1, N).double(), LmConfig(max_iterations=100), bounds).x[0]
    x, step = torch.zeros(N, dtype=torch.float64), 1 / torch.linalg.matrix_norm(a[0], 2) ** 2
    for _ in range(20000):
        x = (x - step * a[0].T @ (a[0] @ x - y[0])).clamp(-0.3, 0.3)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_nobody_is_touched_by_a_neighbour(poison: float) -> None:
    evaluate, start = curve_problem(7, 8), start_of(7, 8)
    clean = minimise(evaluate, plus, start)
    poisoned = start.clone()
    poisoned[3] = poison
    found = minimise(evaluate, plus, poisoned)
    others = torch.arange(8) != 3
    assert torch.equal(found.iterations[others], clean.iterations[others])
    torch.testing.assert_close(found.x[others], clean.x[others], rtol=0, atol=1e-10)
    assert not torch.isfinite(found.cost[3])


def test_nobody_to_fit() -> None:
    found = minimise(curve_problem(0, 0), plus, torch.zeros(0, N, dtype=torch.float64))
    assert found.x.shape == (0, N)
    assert found.iterations.shape == (0,)
