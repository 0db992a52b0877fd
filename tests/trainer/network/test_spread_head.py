"""The head that says how far a prediction may be off: a new one says the same of all, and it changes no prediction."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.trainer.networks import SMALL, crops
from trainer.network.crop_input import normalise
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr
from trainer.network.networks import EveryLayer
from trainer.network.spread_head import MAX_STD, MIN_STD, SpreadHead

TELLING = replace(SMALL, uncertainty="head")


def test_it_changes_no_prediction() -> None:
    patches = normalise(crops(2, seed=1))
    torch.manual_seed(0)
    plain = Hsmr(SMALL).eval()
    torch.manual_seed(0)
    telling = Hsmr(TELLING).eval()
    with torch.inference_mode():
        assert EveryLayer(plain)(patches).spread is None
        layers, spread = EveryLayer(telling)(patches)
        for a, b in zip(layers[-1], plain(patches), strict=True):
            assert torch.equal(a, b)
    assert spread is not None
    torch.testing.assert_close(spread, torch.full((2, 46), (MIN_STD * MAX_STD) ** 0.5))


def test_its_gradient_stays_in_it() -> None:
    network = Hsmr(TELLING)
    nn.init.normal_(network.head.spread.out.weight)  # type: ignore[union-attr]
    spread = EveryLayer(network)(normalise(crops(2, seed=2))).spread
    assert spread is not None
    spread.square().sum().backward()
    estimate, own = network.apart()
    assert all(weight.grad is None for weight in estimate)
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in own)
    assert len(estimate) + len(own) == len(list(network.parameters()))


def test_it_stays_within_its_bounds() -> None:
    head = SpreadHead(8)
    nn.init.normal_(head.out.weight, std=1e3)
    std = head(torch.randn(16, 8))
    assert std.min() >= MIN_STD * 0.999
    assert std.max() <= MAX_STD * 1.001


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network\.uncertainty='much': one of none, head"):
        replace(SMALL, uncertainty="much")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no such options: .* network\.uncertainty=head"):
        Hmr2(TELLING)
