"""Stochastic depth: the rates of ViTPose, the same for the same seed and step, off in evaluation."""

import numpy as np
import pytest
import torch

from tests.trainer.networks import SMALL, crops
from trainer.network.crop_input import normalise
from trainer.network.drop_path import draw_paths, skip_rates
from trainer.network.hsmr import Hsmr
from trainer.network.networks import EveryLayer
from trainer.network.vit import Vit, VitConfig
from trainer.training.train_config import StartConfig

TINY = VitConfig(dim=32, depth=3, heads=2)


def test_rates_rise_from_nothing_to_the_last_block() -> None:
    np.testing.assert_allclose(skip_rates(0.55, 32)[[0, 1, 31]], [0, 0.55 / 31, 0.55])


def test_shares_and_scales() -> None:
    """What is kept counts 1 / (1 - p), so that the mean is 1."""
    paths = draw_paths(0.6, 4, 20_000, seed=0, step=0)
    rates = skip_rates(0.6, 4)
    for block, rate in enumerate(rates):
        values = paths[:, block].unique().tolist()
        assert values == pytest.approx([1.0] if rate == 0 else [0, 1 / (1 - rate)])
        assert float((paths[:, block] == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    attention, mlp = (paths[:, 3] == 0).float().unbind(1)
    assert float((attention * mlp).mean()) == pytest.approx(0.36, abs=0.02), "branches are skipped independently"


def test_drawn_by_seed_and_step_alone() -> None:
    first = draw_paths(0.5, 3, 8, seed=1, step=2)
    assert torch.equal(first, draw_paths(0.5, 3, 8, seed=1, step=2))
    assert not torch.equal(first, draw_paths(0.5, 3, 8, seed=1, step=3))
    assert not torch.equal(first, draw_paths(0.5, 3, 8, seed=2, step=2))


@pytest.mark.parametrize("recompute", [False, True])
def test_what_skips_everything_is_the_embedding(recompute: bool) -> None:
    """And what counts once is the network without stochastic depth; people do not touch each other."""
    vit, patches = Vit(TINY, recompute=recompute), normalise(crops(2, seed=0))
    paths = torch.ones(2, 3, 2)
    torch.testing.assert_close(vit(patches, paths), vit(patches))
    paths[1] = 0
    seen = vit(patches, paths)
    torch.testing.assert_close(seen[0], vit(patches)[0])
    middle = vit.patch_embed(patches[..., 32:-32]) + vit.pos_embed[:, 1:] + vit.pos_embed[:, :1]
    torch.testing.assert_close(seen[1], vit.last_norm(middle)[1])


def test_a_skipped_branch_is_not_trained() -> None:
    network, paths = Hsmr(SMALL), torch.ones(1, 2, 2)
    paths[0, 1, 0] = 0
    (found,), _ = EveryLayer(network)(normalise(crops(1, seed=1)), None, paths)
    found.q.square().sum().backward()
    trained = {name: part.grad.count_nonzero() for name, part in network.named_parameters() if part.grad is not None}
    assert trained["backbone.blocks.1.attn.proj.weight"] == 0
    assert trained["backbone.blocks.1.mlp.fc2.weight"] > 0


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"network.drop_path=1"):
        StartConfig(drop_path=1.0)
    with pytest.raises(ValueError, match=r"variant mini has no blocks"):
        StartConfig(variant="mini", drop_path=0.1)
