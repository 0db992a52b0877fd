"""The keypoint net: its tokens say where, its starting weights are there and find keypoints of made people."""

from pathlib import Path

import pytest
import torch

from tests.trainer.networks import crops
from trainer.checkpoint import CheckpointError, load_backbone
from trainer.network.crop_input import normalise
from trainer.network.hsmr import Hsmr
from trainer.network.keypoint_net import KEYPOINT_NET_FILE, MINI, KeypointNet, cell_centres
from trainer.network.variants import variant


def test_tokens_of_a_batch_are_those_of_each_person() -> None:
    net, patches = KeypointNet(MINI), normalise(crops(3, seed=0))
    with torch.no_grad():
        together = net(patches)
        alone = torch.cat([net(patch[None]) for patch in patches])
    assert together.shape == (3, 44, MINI.dim)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_heat_is_a_distribution_over_the_crop_that_the_network_sees() -> None:
    net = KeypointNet(MINI)
    with torch.no_grad():
        heat = net.see(torch.randn(2, 3, 128, 96)).heat
    torch.testing.assert_close(heat.exp().sum(2), torch.ones(2, 44))
    cells = cell_centres()
    assert cells[0].tolist() == pytest.approx([-0.375 + 1 / 32, -0.5 + 1 / 32])
    assert cells[1].tolist() == pytest.approx([-0.375 + 3 / 32, -0.5 + 1 / 32])
    assert cells[-1].tolist() == pytest.approx([0.375 - 1 / 32, 0.5 - 1 / 32])


def test_columns_outside_of_what_it_sees_change_nothing() -> None:
    net, patches = KeypointNet(MINI), normalise(crops(1, seed=0))
    blank = patches.clone()
    blank[..., :32] = blank[..., -32:] = 0
    with torch.no_grad():
        torch.testing.assert_close(net(patches), net(blank))


def test_starting_weights() -> None:
    network = Hsmr(variant("mini"))
    load_backbone(network.backbone, str(KEYPOINT_NET_FILE))
    assert KEYPOINT_NET_FILE.stat().st_size < 3e6
    assert 0.1 < float(network.backbone.get_parameter("joined.weight").std()) * MINI.dim**0.5 < 10


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit this backbone"):
        load_backbone(Hsmr(variant("tiny")).backbone, str(KEYPOINT_NET_FILE))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(KEYPOINT_NET_FILE.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_backbone(Hsmr(variant("mini")).backbone, str(cut))
