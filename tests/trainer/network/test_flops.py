"""The count of operations against torch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.trainer.networks import SMALL, crops
from trainer.network.crop_input import normalise
from trainer.network.flops import BACKWARD, forward_flops, training_flops, utilisation
from trainer.network.hsmr import Hsmr
from trainer.network.variants import NetworkConfig, variant
from trainer.network.vit import N_TOKENS, PATCH_PX


@pytest.mark.parametrize("config", [SMALL, variant("tiny")], ids=["small", "tiny"])
def test_forward_and_training_step(config: NetworkConfig) -> None:
    network, patches = Hsmr(config), normalise(crops(2, seed=0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        tokens = network.backbone(patches)
        token = network.head.transformer(tokens)
        decoders = network.head.poses_decoder, network.head.betas_decoder, network.head.cam_decoder
        outputs = [decode(token) for decode in decoders]
    assert forward.get_total_flops() == 2 * forward_flops(config)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as backward:
        torch.cat(outputs, 1).sum().backward()
    counted = forward.get_total_flops() + backward.get_total_flops()
    pixels = 2 * N_TOKENS * 3 * PATCH_PX**2 * config.backbone.dim
    query = 2 * config.decoder.dim
    assert counted == 2 * (training_flops(config) - pixels - query)  # these two inputs need no gradient


@pytest.mark.parametrize("name", ["b", "l", "h"])
def test_large_variants_by_shape_alone(name: str) -> None:
    with torch.device("meta"):
        network = Hsmr(variant(name))
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            network.head.transformer(network.backbone(torch.zeros(1, 3, 256, 256)))
    assert forward_flops(variant(name)) == pytest.approx(counter.get_total_flops(), rel=1e-4)


def test_utilisation() -> None:
    config = variant("h")
    peak = 1e15
    rate = 0.5 * peak / training_flops(config)
    assert utilisation(config, rate, peak, training=True) == pytest.approx(0.5)
    assert utilisation(config, rate, peak, training=False) == pytest.approx(0.5 / (1 + BACKWARD))


def test_keypoint_net() -> None:
    config = variant("mini")
    network, patches = Hsmr(config), normalise(crops(2, seed=0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        network.head.transformer(network.backbone(patches))
    outputs = 2 * config.decoder.dim * (6 * 24 + 10 + 3)
    assert counter.get_total_flops() == pytest.approx(2 * (forward_flops(config) - outputs), rel=2e-3)  # places of heat
