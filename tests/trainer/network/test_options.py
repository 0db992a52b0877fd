"""The network's options: told cameras, and an estimate by every decoder layer. Both start as the released network."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.body import Skel
from pipeline.image.camera import FOCAL
from tests.trainer.networks import SMALL, crops
from trainer.network.camera_token import CropCameras
from trainer.network.crop_input import normalise
from trainer.network.estimates import Estimates
from trainer.network.flops import forward_flops
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr, HsmrOutput
from trainer.network.networks import EveryLayer
from trainer.network.variants import NetworkConfig, variant
from trainer.training.losses import pose_keypoints
from trainer.training.trained_body import TrainedSkel

TOLD = replace(SMALL, camera="full")
REFINING = replace(SMALL, refine_layers=True)
BOTH = replace(TOLD, refine_layers=True)
OPTIONS = [TOLD, REFINING, BOTH]
IDS = ["full", "refine_layers", "both"]


def cameras(*focal: float) -> CropCameras:
    rays = torch.linspace(-0.4, 0.4, 2 * len(focal)).reshape(-1, 2)
    return CropCameras(torch.tensor(focal), rays)


def released() -> Hsmr:
    """A network that does not predict the mean for everything."""
    torch.manual_seed(0)
    network = Hsmr(SMALL).eval()
    for layer in (network.head.poses_decoder, network.head.betas_decoder, network.head.cam_decoder):
        nn.init.normal_(layer.weight, std=0.02)
    return network


def started(config: NetworkConfig, weights: Hsmr) -> Hsmr:
    network = Hsmr(config).eval()
    network.load_state_dict(network.state_dict() | weights.state_dict())
    return network


def total(layers: tuple[HsmrOutput, ...]) -> Tensor:
    return torch.stack([value.square().sum() for output in layers for value in output]).sum()


@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_options_add_weights_and_rename_none(config: NetworkConfig) -> None:
    plain, names = Hsmr(SMALL).state_dict().keys(), Hsmr(config).state_dict().keys()
    new = {name for name in names if name.startswith(("head.camera_token.", "head.early_decoders."))}
    assert new
    assert names - new == plain


def test_options_leave_the_random_weights_of_a_plain_network_alone() -> None:
    """The same seed gives the same network as before there were options: nothing new is drawn."""
    torch.manual_seed(0)
    Hsmr(SMALL)
    after = torch.rand(1)
    torch.manual_seed(0)
    Hsmr(replace(SMALL, refine_layers=False, camera="crop"))
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_released_weights_start_unchanged(config: NetworkConfig) -> None:
    """The same pose, shape and (s, tx, ty) under every camera; only the depth follows the focal length."""
    plain, patches, told = released(), normalise(crops(3, seed=1)), cameras(1.0, FOCAL, 30.0)
    with torch.inference_mode():
        before, found = plain(patches), started(config, plain)(patches, told)
    for name in ("q", "betas", "cam", "representation", "rotations"):
        assert torch.equal(getattr(found, name), getattr(before, name)), name
    ratio = told.focal / FOCAL if config.camera == "full" else torch.ones(3)
    torch.testing.assert_close(found.cam_t[:, 2], before.cam_t[:, 2] * ratio)
    assert torch.equal(found.cam_t[:, :2], before.cam_t[:, :2])


def test_a_network_of_the_crop_does_not_look_at_cameras() -> None:
    plain, patches = released(), normalise(crops(2, seed=2))
    with torch.inference_mode():
        for a, b in zip(plain(patches), plain(patches, cameras(1.0, 5.0)), strict=True):
            assert torch.equal(a, b)


def test_a_trained_token_tells_the_camera() -> None:
    network, patch = started(TOLD, released()), normalise(crops(1, seed=3)).expand(3, -1, -1, -1)
    token = network.head.camera_token
    assert token is not None
    nn.init.normal_(token.out.weight)
    with torch.inference_mode():
        q = network(patch, CropCameras(torch.tensor([1.0, 10.0, 10.0]), torch.tensor([[0.0, 0], [0, 0], [0.3, 0]]))).q
    assert (q[0] - q[1]).abs().max() > 1e-4
    assert (q[1] - q[2]).abs().max() > 1e-4


@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_every_layer_estimates_and_the_last_predicts(config: NetworkConfig) -> None:
    network, patches, told = started(config, released()), normalise(crops(2, seed=4)), cameras(1.0, 5.0)
    for decoder in network.head.early_decoders:
        nn.init.normal_(decoder.get_parameter("weight"), std=0.02)
    with torch.inference_mode():
        layers = EveryLayer(network)(patches, told).layers
        assert len(layers) == (config.decoder.depth if config.refine_layers else 1)
        for a, b in zip(layers[-1], network(patches, told), strict=True):
            assert torch.equal(a, b)
    for a, b in pairwise(layers):
        assert (a.q - b.q).abs().max() > 1e-4


@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_every_parameter_gets_a_finite_gradient(config: NetworkConfig) -> None:
    network = Hsmr(config)
    total(EveryLayer(network)(normalise(crops(2, seed=0)), cameras(0.8, 30.0)).layers).backward()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)


def test_keypoints_are_projected_with_the_focal_length_told(open_skel: Skel) -> None:
    """The same scale in the crop from any distance: near the middle a body looks alike through every lens."""
    skel, network = open_skel.to("cpu", torch.float32), started(TOLD, released())
    patch, told = (
        normalise(crops(1, seed=5)).expand(2, -1, -1, -1),
        CropCameras(torch.tensor([FOCAL, 30 * FOCAL]), torch.zeros(2, 2)),
    )
    with torch.inference_mode():
        found = network(patch, told)
        near, far = pose_keypoints(TrainedSkel(skel), found, told.focal).projected
    assert (near - far).abs().max() < 0.02
    assert (near - far).abs().max() > 1e-5


def test_bf16_autocast_stays_near_float32() -> None:
    network, patches, told = started(BOTH, released()), normalise(crops(4, seed=6)), cameras(1.0, 2.0, 5.0, 30.0)
    with torch.inference_mode():
        plain = network(patches, told)
        with torch.autocast("cpu", torch.bfloat16):
            cast = network(patches, told)
    assert all(value.dtype == torch.float32 for value in cast)
    assert (cast.rotations - plain.rotations).abs().max() < 2e-2


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="must be told"):
        Hsmr(TOLD)(normalise(crops(1, seed=0)))
    with pytest.raises(
        ValueError, match=r"HMR2\.0 has no such options: network\.camera=crop network\.refine_layers=true"
    ):
        Hmr2(REFINING)
    with pytest.raises(ValueError, match="crop, full"):
        replace(SMALL, camera="half")  # type: ignore[arg-type]


def compiles(work: Callable[..., object], backend: str) -> Callable[..., object]:
    torch._dynamo.reset()
    return torch.compile(work, fullgraph=True, backend=backend)


@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_one_graph_without_breaks(config: NetworkConfig) -> None:
    network, patches, told = EveryLayer(Hsmr(config)).eval(), normalise(crops(2, seed=8)), cameras(1.0, 5.0)
    with torch.inference_mode():
        found = compiles(network, "eager")(patches, told)
        assert isinstance(found, Estimates)
        for layer, expected in zip(found.layers, network(patches, told).layers, strict=True):
            for a, b in zip(layer, expected, strict=True):
                assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_one_graph_of_the_whole_training_step(config: NetworkConfig) -> None:
    network, patches, told = EveryLayer(Hsmr(config)), normalise(crops(2, seed=9)), cameras(1.0, 5.0)
    total(network(patches, told).layers).backward()
    expected = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    total(compiles(network, "aot_eager")(patches, told).layers).backward()  # type: ignore[arg-type]
    for p, b in zip(network.parameters(), expected, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()) + 1e-7)


@pytest.mark.parametrize("config", OPTIONS, ids=IDS)
def test_flops(config: NetworkConfig) -> None:
    config = replace(variant("tiny"), camera=config.camera, refine_layers=config.refine_layers)
    head = Hsmr(config).head
    tokens, told = Hsmr(variant("tiny")).backbone(normalise(crops(2, seed=0))), cameras(1.0, 5.0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        token = None if head.camera_token is None else head.camera_token(told)
        states = head.transformer.every_layer(tokens, token)
        for decoder, state in zip(head.early_decoders, states, strict=False):
            decoder(state)
        for decoder in (head.poses_decoder, head.betas_decoder, head.cam_decoder):
            decoder(states[-1])
    plain = replace(config, camera="crop", refine_layers=False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as without:
        state = head.transformer(tokens)
        for decoder in (head.poses_decoder, head.betas_decoder, head.cam_decoder):
            decoder(state)
    more = counter.get_total_flops() - without.get_total_flops()
    assert more == 2 * (forward_flops(config) - forward_flops(plain)) > 0
