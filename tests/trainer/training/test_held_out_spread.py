"""Calibration on held-out people, and what the spread head is trained by: made predictions whose errors are known."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.shape_checks import shapes_unchecked
from trainer.network.spread_head import QStd
from trainer.training.held_out_spread import LABEL_BETAS_STD, HeldOutSpread
from trainer.training.spread_loss import spread_loss

CPU, PEOPLE = torch.device("cpu"), 20_000


def made(label_std: float, seed: int = 0) -> tuple[Any, QStd, Any]:
    """Predictions whose error is three times what their spread says, and labels that are off as they say; the last
    people have no label.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(columns: int) -> torch.Tensor:
        return torch.randn(PEOPLE, columns, generator=generator)

    truth = 3 * normal(46)  # angles wrap
    spread = 0.1 * (0.5 * normal(46)).exp()
    predicted = SimpleNamespace(q=truth + 3 * spread * normal(46), betas=3 * normal(10))
    batch = SimpleNamespace(
        q=truth + label_std * normal(46) + 2 * torch.pi,
        q_std=torch.full((PEOPLE, 46), label_std),
        betas=torch.zeros(PEOPLE, 10),
        has_label=torch.arange(PEOPLE) < PEOPLE - 100,
    )
    predicted.q[-100:] += 1
    return predicted, spread, batch


@pytest.fixture(autouse=True)
def stand_ins() -> Iterator[None]:
    """What is made above is not of the classes that are asked for, it only has what is read."""
    with shapes_unchecked():
        yield


def test_factors_make_z_one() -> None:
    """Against the truth, where labels are the truth."""
    predicted, spread, batch = made(0.0)
    found = HeldOutSpread.empty(CPU)
    found.take_in(predicted, spread, batch)
    np.testing.assert_allclose(found.factors(), 3, rtol=0.05)
    np.testing.assert_allclose(found.q_std(), 3 * 0.1 * np.exp(0.25), rtol=0.1)
    np.testing.assert_allclose(found.betas_std(), np.hypot(3, LABEL_BETAS_STD), rtol=0.05)


def test_labels_that_are_off_never_make_a_prediction_surer() -> None:
    """Whether their error is new to the network or learned cannot be told: it claims the difference to them."""
    predicted, spread, batch = made(0.0)
    plain, off = HeldOutSpread.empty(CPU), HeldOutSpread.empty(CPU)
    plain.take_in(predicted, spread, batch)
    off.take_in(*made(0.2))
    assert (np.array(off.factors()) > np.array(plain.factors())).all()
    np.testing.assert_allclose(np.square(off.q_std()), np.square(plain.q_std()) + 0.2**2, rtol=0.05)


def test_nobody_labelled_and_no_head() -> None:
    predicted, spread, batch = made(0.0)
    found = HeldOutSpread.empty(CPU)
    found.take_in(predicted, None, batch)
    assert found.factors() == ()
    assert len(found.q_std()) == 46
    assert len(found.population_std()) == 56
    batch.has_label = torch.zeros(PEOPLE, dtype=torch.bool)
    found = HeldOutSpread.empty(CPU)
    found.take_in(predicted, spread, batch)
    assert (found.factors(), found.q_std(), found.betas_std(), found.population_std()) == ((), (), (), ())
    assert spread_loss(predicted, spread, batch) == 0


def test_ranks_add_up() -> None:
    predicted, spread, batch = made(0.1)
    one, two = HeldOutSpread.empty(CPU), HeldOutSpread.empty(CPU)
    one.take_in(predicted, spread, batch)
    two.take_in(predicted, spread, batch)
    two.add_up(lambda part: part.mul_(2))
    np.testing.assert_allclose(one.factors(), two.factors())
    np.testing.assert_allclose(one.q_std(), two.q_std())


def test_the_true_spread_is_the_least_loss() -> None:
    """Beside labels that are off themselves."""
    predicted, spread, batch = made(0.2)
    best = spread_loss(predicted, 3 * spread, batch)
    for factor in (0.7, 1.4):
        assert spread_loss(predicted, factor * 3 * spread, batch) > best + 0.01
    predicted.q.requires_grad_()
    std = (3 * spread).requires_grad_()
    spread_loss(predicted, std, batch).backward()
    assert predicted.q.grad is None
    assert std.grad is not None
    assert (std.grad[-100:] == 0).all()


def test_how_people_differ() -> None:
    predicted, spread, batch = made(0.0)
    batch.q = 0.4 * torch.randn(PEOPLE, 46, generator=torch.Generator().manual_seed(1)) + 0.7
    batch.betas = 0.6 * torch.randn(PEOPLE, 10, generator=torch.Generator().manual_seed(2))
    found = HeldOutSpread.empty(CPU)
    found.take_in(predicted, spread, batch)
    population = np.array(found.population_std())
    np.testing.assert_allclose(population[:3], np.pi / np.sqrt(3))
    np.testing.assert_allclose(population[3:46], 0.4, rtol=0.05)
    np.testing.assert_allclose(population[46:], np.hypot(0.6, LABEL_BETAS_STD), rtol=0.05)
