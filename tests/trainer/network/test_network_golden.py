"""The network against the original's numbers (tests/golden/README.md, network.npz and crops.npz)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.image.camera import project
from tests.pipeline.body.standin import Golden
from tests.trainer.networks import golden_config, state_dict
from trainer.network.crop_input import normalise
from trainer.network.hsmr import Hsmr, HsmrOutput

DTYPES = [torch.float64, torch.float32]


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir / "network.npz")


@pytest.fixture(scope="module")
def weights(golden_dir: Path) -> dict[str, Tensor]:
    found = state_dict(golden_dir / "hsmr_tiny.ckpt")
    return {name: value for name, value in found.items() if not name.startswith("skel_model.")}


def network(golden: Golden, weights: dict[str, Tensor], dtype: torch.dtype) -> Hsmr:
    hsmr = Hsmr(golden_config(golden))
    hsmr.load_state_dict(weights)
    return hsmr.to(dtype).eval()


def close(got: Tensor, golden: Golden, name: str, float32: float) -> None:
    """float64: 1e-6 relative to the size of the value; float32: an absolute bound."""
    expected = golden(name, got.dtype)
    bound = 1e-6 * expected.abs().clamp_min(1) if got.dtype == torch.float64 else float32
    assert ((got - expected).abs() <= bound).all(), (name, float((got - expected).abs().max()))


def run(golden: Golden, weights: dict[str, Tensor], dtype: torch.dtype) -> HsmrOutput:
    with torch.inference_mode():
        return network(golden, weights, dtype)(golden("img_patch", dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_output(golden: Golden, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    found = run(golden, weights, dtype)
    close(found.representation, golden, "poses_rep", 2e-5)
    close(found.q, golden, "poses", 2e-5)
    close(found.betas, golden, "betas", 2e-5)
    close(found.cam, golden, "cam", 2e-5)
    close(found.cam_t, golden, "cam_t", 5e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_token_of_the_decoder(golden: Golden, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    hsmr = network(golden, weights, dtype)
    with torch.inference_mode():
        close(hsmr.head.transformer(hsmr.backbone(golden("img_patch", dtype))), golden, "token", 2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backbone_features(golden: Golden, golden_dir: Path, dtype: torch.dtype) -> None:
    """`features` of network.npz holds the same numbers as `vitpose_features`: both are of vitpose_tiny.pth."""
    hsmr = Hsmr(golden_config(golden))
    backbone = {
        name.removeprefix("backbone."): value
        for name, value in state_dict(golden_dir / "vitpose_tiny.pth").items()
        if name.startswith("backbone.") and name != "backbone.cls_token"
    }
    hsmr.backbone.load_state_dict(backbone)
    with torch.inference_mode():
        tokens = hsmr.to(dtype).eval().backbone(golden("img_patch", dtype))
    features = tokens.mT.unflatten(-1, (16, 12))
    close(features, golden, "vitpose_features", 2e-5)
    close(features, golden, "features", 2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_keypoints_through_the_standin_body(
    golden: Golden, weights: dict[str, Tensor], standin_skel: Skel, dtype: torch.dtype
) -> None:
    found = run(golden, weights, dtype)
    points = standin_skel.to("cpu", dtype).keypoints(found.q, found.betas)
    close(points, golden, "kp3d", 1e-5)
    close(project(points, found.cam_t), golden, "kp2d", 1e-5)


def test_new_networks_start_at_the_mean_parameters(golden: Golden) -> None:
    head = Hsmr(golden_config(golden)).head
    assert torch.equal(head.init_poses.reshape(24, 6), golden("init_poses_rep", torch.float32))
    assert torch.equal(head.init_betas[0], golden("init_betas", torch.float32))
    assert torch.equal(head.init_cam[0], golden("init_cam", torch.float32))


def test_normalised_crops(golden: Golden, golden_dir: Path) -> None:
    images = golden("image_uint8").permute(0, 3, 1, 2)
    torch.testing.assert_close(normalise(images), golden("img_patch", torch.float32), rtol=0, atol=1e-6)
    crops = Golden(golden_dir / "crops.npz")
    case = int(crops("normalised_case"))
    place = crops("patch_cases").tolist().index(case)
    patch = crops("patches")[place].permute(2, 0, 1)[None]
    found = normalise(patch, crops("color_scale", torch.float32)[case][None])
    torch.testing.assert_close(found[0], crops("normalised_patch", torch.float32), rtol=0, atol=1e-5)
