"""Where a training starts: released weights fit every option, our own only the options they were trained with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.storage.opening import open_storage
from pipeline.storage.storage import Storage
from tests.trainer.networks import INFO
from trainer.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from trainer.network.hsmr import Hsmr
from trainer.network.variants import variant
from trainer.training.initial_network import initial_network
from trainer.training.train_config import StartConfig

PLAIN = StartConfig(variant="tiny")
BOTH = StartConfig(variant="tiny", camera="full", refine_layers=True)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def test_a_released_file_starts_a_network_of_any_options(tmp_path: Path) -> None:
    network, path = Hsmr(variant("tiny")), tmp_path / "released.ckpt"
    torch.save({"state_dict": network.state_dict()}, path)
    for config in (PLAIN, replace(PLAIN, camera="full"), replace(PLAIN, refine_layers=True), BOTH):
        first, again = (initial_network(config, str(path), seed=3) for _ in range(2))
        assert first.config == config.network()
        for name, value in network.state_dict().items():
            assert torch.equal(first.state_dict()[name], value)
        for name, value in first.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), "every rank must start alike"


def test_our_own_file_says_its_options_and_starts_no_other_network(storage: Storage) -> None:
    save_checkpoint(storage, "both.safetensors", initial_network(BOTH, None, seed=0), replace(INFO, variant="tiny"))
    address = storage.url("both.safetensors")
    assert load_checkpoint(address).network.config == BOTH.network()
    assert initial_network(BOTH, address, seed=1).config == BOTH.network()
    asked = "network.camera=crop network.refine_layers=false is asked for"
    with pytest.raises(
        CheckpointError, match=f"both.safetensors is a network of network.camera=full.*true, but {asked}"
    ):
        initial_network(PLAIN, address, seed=1)
    with pytest.raises(CheckpointError, match="is not of variant 'b'"):
        initial_network(replace(BOTH, variant="b"), address, seed=1)


def test_options_leave_the_other_random_weights_alone() -> None:
    plain = initial_network(PLAIN, None, seed=0).state_dict()
    told = initial_network(BOTH, None, seed=0).state_dict()
    assert all(torch.equal(told[name], plain[name]) for name in plain)


def test_the_spread_head_starts_beside_any_weights(storage: Storage) -> None:
    """A file of ours from before there was one goes on with it, and one with it without."""
    telling = replace(PLAIN, uncertainty="head")
    for name, there, wanted in (("plain", PLAIN, telling), ("telling", telling, PLAIN)):
        network = initial_network(there, None, seed=0)
        save_checkpoint(storage, f"{name}.safetensors", network, replace(INFO, variant="tiny"))
        found = initial_network(wanted, storage.url(f"{name}.safetensors"), seed=1)
        assert found.config == wanted.network()
        theirs = network.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in found.state_dict().items() if key in theirs)


def test_a_frozen_backbone_learns_nothing_and_the_head_does() -> None:
    for name, kept in (("mini", "backbone.fine.0.0.weight"), ("tiny", "backbone.pos_embed")):
        network = initial_network(StartConfig(variant=name, freeze_backbone=True), None, seed=0)
        assert isinstance(network, Hsmr)
        token = network.backbone(torch.zeros(1, 3, 256, 256))
        network.head.transformer(token).sum().backward()
        learns = {name for name, weight in network.named_parameters() if weight.grad is not None}
        assert kept not in learns
        assert "head.transformer.pos_embedding" in learns
        assert ("backbone.token.weight" in learns) == (name == "mini")
