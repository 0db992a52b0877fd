"""The networks: gradients everywhere finite, bf16 autocast, activation checkpointing, compilation, sizes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.body import Skel
from pipeline.body.rotations import axis_angle_to_matrix
from tests.trainer.networks import SMALL, crops
from trainer.network.camera_head import MIN_SCALE, camera_translation
from trainer.network.crop_input import normalise
from trainer.network.hmr2 import Hmr2, Hmr2Output
from trainer.network.hsmr import Hsmr, HsmrOutput
from trainer.network.variants import VARIANTS, NetworkConfig, variant
from trainer.network.vit import VitConfig
from trainer.training.losses import pose_keypoints
from trainer.training.trained_body import TrainedSkel

KINDS = [Hsmr, Hmr2]


def total(output: HsmrOutput | Hmr2Output) -> Tensor:
    """Something that depends on every output."""
    return torch.stack([value.square().sum() for value in output]).sum()


def gradients(network: nn.Module) -> list[Tensor]:
    found = [p.grad for p in network.parameters()]
    assert all(gradient is not None for gradient in found), "DDP waits for parameters without a gradient"
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_finite_gradient(kind: type[Hsmr] | type[Hmr2]) -> None:
    network = kind(SMALL)
    total(network(normalise(crops(2, seed=0)))).backward()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(network))


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_autocast_stays_near_float32(kind: type[Hsmr] | type[Hmr2]) -> None:
    """Outputs are float32 and off by what bf16 costs in the transformers, not in camera and rotations."""
    network = kind(SMALL).eval()
    patches = normalise(crops(4, seed=1))
    with torch.inference_mode():
        plain = network(patches)
        with torch.autocast("cpu", torch.bfloat16):
            cast = network(patches)
    assert all(value.dtype == torch.float32 for value in cast)
    assert (cast.rotations - plain.rotations).abs().max() < 2e-3
    rotations = cast.rotations
    assert (rotations @ rotations.mT - torch.eye(3)).abs().max() < 1e-5
    assert torch.equal(cast.cam_t, camera_translation(cast.cam))


def test_backbone_in_bf16_with_a_float32_head() -> None:
    """The other way to infer fast: half the memory traffic for the weights."""
    network = Hsmr(SMALL).eval()
    patches = normalise(crops(4, seed=2))
    with torch.inference_mode():
        plain = network(patches)
        network.backbone.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            cast = network(patches)
    assert cast.q.dtype == torch.float32
    assert (cast.rotations - plain.rotations).abs().max() < 5e-3


def test_people_do_not_depend_on_their_batch() -> None:
    network, patches = Hsmr(SMALL).double().eval(), normalise(crops(5, seed=3)).double()
    with torch.inference_mode():
        together, alone = network(patches), network(patches[3:4])
    for whole, one in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[3:4], one, rtol=0, atol=1e-12)


def test_activation_checkpointing_changes_no_gradient() -> None:
    plain, saving = Hsmr(SMALL).double().train(), Hsmr(SMALL, recompute=True).double().train()
    saving.load_state_dict(plain.state_dict())
    patches = normalise(crops(2, seed=4)).double()
    for network in (plain, saving):
        total(network(patches)).backward()
    for a, b in zip(gradients(plain), gradients(saving), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_activation_checkpointing_keeps_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that autograd saves for the backward pass."""

    def saved(network: Hsmr) -> int:
        kept: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            kept[x.data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            network.backbone(normalise(crops(2, seed=5)))
        return sum(kept.values())

    deep = NetworkConfig(backbone=VitConfig(dim=32, depth=8, heads=2), decoder=SMALL.decoder)
    assert saved(Hsmr(deep, recompute=True).train()) < saved(Hsmr(deep).train()) / 3


def test_new_networks_predict_the_mean_parameters() -> None:
    torch.manual_seed(0)
    network = Hsmr(SMALL).eval()
    with torch.inference_mode():
        found = network(normalise(crops(2, seed=6)))
    assert (found.representation - network.head.init_poses.reshape(24, 6)).abs().max() < 0.1
    assert (found.cam - network.head.init_cam).abs().max() < 0.1


def test_hmr2_starts_upright_and_reads_columns() -> None:
    network = Hmr2(SMALL).double().eval()
    nn.init.zeros_(network.smpl_head.decpose.weight)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64))
    with torch.inference_mode():
        found = network(normalise(crops(1, seed=7)).double())
        expected = torch.eye(3).double().expand(24, 3, 3).clone()
        expected[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]).double())
        torch.testing.assert_close(found.rotations[0], expected)
        network.smpl_head.init_body_pose[0, :6] = turn[:, :2].T.flatten()
        torch.testing.assert_close(network(normalise(crops(1, seed=7)).double()).rotations[0, 0], turn)


def test_camera_translation_is_finite_and_leads_back() -> None:
    """s at zero, behind the camera, or huge; a loss that wants the person nearer raises s."""
    cam = torch.tensor([[0.9, 0.1, 0.2], [0.0, 0.0, 0.0], [-3.0, 0.0, 0.0], [1e6, 0.0, 0.0]], requires_grad=True)
    cam_t = camera_translation(cam)
    assert torch.isfinite(cam_t).all()
    assert (cam_t[:, 2] > 0).all()
    torch.testing.assert_close(cam_t[0], torch.tensor([0.1, 0.2, 2 * 5000 / (256 * 0.9 + 1e-9)]))
    (gradient,) = torch.autograd.grad(cam_t[:, 2].sum(), cam)
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 0] < 0).all()
    assert gradient.abs().max() <= 2 * 5000 / 256 / MIN_SCALE**2 * 1.001


def test_colour_scale_is_clipped_to_white() -> None:
    white = torch.full((1, 3, 256, 256), 250, dtype=torch.uint8)
    scaled = normalise(white, torch.tensor([[1.2, 1.0, 0.8]]))
    full = normalise(torch.full_like(white, 255))
    assert torch.equal(scaled[:, 0], full[:, 0])
    torch.testing.assert_close(scaled[:, 1], normalise(white)[:, 1])
    torch.testing.assert_close(scaled[:, 2], normalise(torch.full_like(white, 200))[:, 2])


@pytest.mark.parametrize(("name", "millions"), [("b", 86), ("l", 303), ("h", 631)])
def test_sizes_of_the_backbones(name: str, millions: int) -> None:
    """As published for ViT-B, -L and -H (without classification head)."""
    with torch.device("meta"):
        backbone = Hsmr(variant(name)).backbone
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e6) == pytest.approx(millions, abs=1)


def test_unknown_variants_list_the_known() -> None:
    with pytest.raises(ValueError, match=r"no network variant 'H'; there are tiny, mini, b, l, h\. Did you mean 'h'"):
        variant("H")
    with pytest.raises(ValueError, match="does not divide"):
        VitConfig(dim=100, depth=1, heads=3)


def compiles(work: Callable[..., object], backend: str) -> Callable[..., object]:
    torch._dynamo.reset()
    return torch.compile(work, fullgraph=True, backend=backend)


def test_one_graph_without_breaks() -> None:
    """Tracing alone; what is compiled to code is tested by the slow test below."""
    network, patches = Hsmr(SMALL).eval(), normalise(crops(2, seed=8))
    with torch.inference_mode():
        found = compiles(network, "eager")(patches)
        assert isinstance(found, HsmrOutput)
        for a, b in zip(found, network(patches), strict=True):
            assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_graph_of_the_whole_training_step(kind: type[Hsmr] | type[Hmr2]) -> None:
    """Forward and backward traced by torch.compile: the gradients of the eager network."""
    network, patches = kind(SMALL), normalise(crops(2, seed=9))
    total(network(patches)).backward()
    expected = [gradient.clone() for gradient in gradients(network)]
    network.zero_grad()
    total(compiles(network, "aot_eager")(patches)).backward()  # type: ignore[arg-type]
    for a, b in zip(gradients(network), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()) + 1e-7)


@pytest.mark.slow
def test_compiled_backbone() -> None:
    """Generated code, in place, so that the state dict keeps its names; in float32 and under bf16 autocast."""
    torch._dynamo.reset()
    plain, compiled = Hsmr(SMALL), Hsmr(SMALL)
    compiled.load_state_dict(plain.state_dict())
    compiled.backbone.compile(fullgraph=True)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    patches = normalise(crops(2, seed=11))
    for network in (plain, compiled):
        total(network(patches)).backward()
    for a, b in zip(gradients(compiled), gradients(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()) + 1e-6)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert (compiled(patches).rotations - plain(patches).rotations).abs().max() < 2e-3


@pytest.mark.slow
def test_compiled_body(open_skel: Skel) -> None:
    skel, network = open_skel.to("cpu", torch.float32), Hsmr(SMALL).eval()
    with torch.inference_mode():
        predicted = network(normalise(crops(2, seed=10)))
        found = compiles(lambda output: pose_keypoints(TrainedSkel(skel), output).points, "aot_eager")(predicted)
        torch.testing.assert_close(found, pose_keypoints(TrainedSkel(skel), predicted).points)


def test_every_variant_can_be_built() -> None:
    with torch.device("meta"):
        for config in VARIANTS.values():
            assert Hsmr(config).config == config
            Hmr2(config)
