"""Checkpoints: ours, the released ones, ViTPose backbones; damaged, hostile and misfit files are refused by name."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from pipeline.storage.opening import open_storage
from pipeline.storage.storage import Storage
from tests.pipeline.body.standin import Golden
from tests.repository import ROOT
from tests.services.s3_server import S3Server
from tests.trainer.networks import INFO, SMALL, crops, golden_config, state_dict
from trainer.checkpoint import (
    CheckpointError,
    checkpoint_digest,
    load_backbone,
    load_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)
from trainer.network.crop_input import normalise
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr
from trainer.network.variants import NetworkConfig, variant


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def config(golden_dir: Path) -> NetworkConfig:
    return golden_config(Golden(golden_dir / "network.npz"))


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- our own files ---


@pytest.mark.parametrize("kind", [Hsmr, Hmr2])
def test_what_is_saved_is_loaded(storage: Storage, kind: type[Hsmr] | type[Hmr2]) -> None:
    network = kind(SMALL)
    digest = save_checkpoint(storage, "checkpoints/a.safetensors", network, INFO)
    address = storage.url("checkpoints/a.safetensors")
    found = load_checkpoint(address)
    assert type(found.network) is kind
    assert found.network.config == SMALL
    assert same(found.network, network)
    assert found.info == INFO
    assert found.digest == digest == checkpoint_digest(address)
    assert digest == hashlib.sha256(Path(address).read_bytes()).hexdigest()
    assert not found.network.training
    assert all(p.requires_grad and not p.is_meta for p in found.network.parameters())
    found.network(normalise(crops(1, seed=0)))


def test_equal_weights_make_an_equal_file(storage: Storage) -> None:
    """A restarted training that ends alike has the same digest, and so the same run_id of the round that uses it."""
    network = Hsmr(SMALL)
    digests = {save_checkpoint(storage, f"{i}.safetensors", network, INFO) for i in range(8)}
    assert len(digests) == 1
    assert save_checkpoint(storage, "x.safetensors", network, replace(INFO, step=1)) not in digests


def test_weights_that_are_not_finite_are_neither_written_nor_read(storage: Storage, tmp_path: Path) -> None:
    network = Hsmr(SMALL)
    with torch.no_grad():
        network.head.cam_decoder.bias[1] = torch.nan
    with pytest.raises(CheckpointError, match=r"a\.safetensors.*head\.cam_decoder\.bias not finite"):
        save_checkpoint(storage, "a.safetensors", network, INFO)
    assert storage.names("") == []
    path = tmp_path / "nan.ckpt"
    torch.save({"state_dict": network.state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"nan\.ckpt.*head\.cam_decoder\.bias not finite"):
        load_checkpoint(str(path), config=SMALL)


def test_truncated_files_name_themselves(storage: Storage, tmp_path: Path) -> None:
    save_checkpoint(storage, "a.safetensors", Hsmr(SMALL), INFO)
    whole = storage.read("a.safetensors")
    for size in (0, 5, 9, 200, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
            load_checkpoint(str(path))


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    import safetensors.torch

    path = tmp_path / "other.safetensors"
    for metadata in (None, {"checkpoint": "{}"}, {"checkpoint": "[1"}):
        safetensors.torch.save_file({"a": torch.ones(2)}, path, metadata)
        with pytest.raises(CheckpointError, match=r"other\.safetensors.*does not say which network"):
            load_checkpoint(str(path))


def test_a_header_that_does_not_fit_its_weights(storage: Storage) -> None:
    address = rewritten(storage, lambda network: network["backbone"].update(depth=3))
    with pytest.raises(CheckpointError, match=r"b\.safetensors.*missing: backbone\.blocks\.2"):
        load_checkpoint(address)


def rewritten(
    storage: Storage, change: Callable[[dict], object], change_info: Callable[[dict], object] = lambda info: None
) -> str:
    """A checkpoint with a changed description of its network, and of how its weights came to be."""
    save_checkpoint(storage, "a.safetensors", Hsmr(SMALL), INFO)
    data = storage.read("a.safetensors")
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    content = json.loads(header["__metadata__"]["checkpoint"])
    change(content["network"])
    change_info(content["info"])
    header["__metadata__"]["checkpoint"] = json.dumps(content)
    text = json.dumps(header).encode()
    storage.write("b.safetensors", len(text).to_bytes(8, "little") + text + data[8 + size :])
    return storage.url("b.safetensors")


def test_files_from_before_there_were_options(storage: Storage) -> None:
    address = rewritten(storage, lambda network: [network.pop(name) for name in ("camera", "refine_layers")])
    assert load_checkpoint(address).network.config == SMALL


def test_files_from_before_predictions_had_a_spread(storage: Storage) -> None:
    """Neither the option nor what was measured of it is in them."""
    address = rewritten(
        storage,
        lambda network: network.pop("uncertainty"),
        lambda info: [info.pop(name) for name in ("betas_std", "spread_factors")],
    )
    found = load_checkpoint(address)
    assert found.network.config == SMALL
    assert found.info == INFO


def test_the_spread_head_and_its_calibration_are_saved(storage: Storage) -> None:
    network = Hsmr(replace(SMALL, uncertainty="head"))
    info = replace(INFO, q_std=(0.1,) * 46, betas_std=(0.9,) * 10, spread_factors=(1.5,) * 46)
    save_checkpoint(storage, "a.safetensors", network, info)
    found = load_checkpoint(storage.url("a.safetensors"))
    assert found.network.config == network.config
    assert found.info == info
    assert same(found.network, network)


def test_unknown_or_wrong_options(storage: Storage) -> None:
    with pytest.raises(CheckpointError, match=r"b\.safetensors.*does not say which network.*half"):
        load_checkpoint(rewritten(storage, lambda network: network.update(camera="half")))
    with pytest.raises(CheckpointError, match=r"b\.safetensors.*missing: head\.camera_token"):
        load_checkpoint(rewritten(storage, lambda network: network.update(camera="full")))


@pytest.mark.parametrize("options", [{"camera": "full"}, {"refine_layers": True}])
def test_options_are_saved_and_loaded(storage: Storage, options: dict) -> None:
    network = Hsmr(replace(SMALL, **options))
    save_checkpoint(storage, "a.safetensors", network, INFO)
    found = load_checkpoint(storage.url("a.safetensors")).network
    assert found.config == network.config
    assert same(found, network)


def test_missing_files(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file .*nothing\.ckpt"):
        load_checkpoint(storage.url("nothing.ckpt"))


def test_on_s3(s3_server: S3Server) -> None:
    storage = open_storage(s3_server.url("trained"))
    network = Hsmr(SMALL)
    digest = save_checkpoint(storage, "round-1/best.safetensors", network, INFO)
    found = load_checkpoint(storage.url("round-1/best.safetensors"))
    assert same(found.network, network)
    assert found.digest == digest
    with pytest.raises(FileNotFoundError, match="no checkpoint file s3://"):
        load_checkpoint(storage.url("round-1/worst.safetensors"))


def test_killed_while_writing(tmp_path: Path) -> None:
    """SIGKILL while it writes without pause: the name shows the old file or the new one, whole."""
    program = """
import sys
from dataclasses import replace
from pipeline.storage.opening import open_storage
from tests.trainer.networks import INFO, SMALL
from trainer.checkpoint import save_checkpoint
from trainer.network.hsmr import Hsmr
network, storage = Hsmr(SMALL), open_storage(sys.argv[1])
for step in range(1_000_000):
    save_checkpoint(storage, "last.safetensors", network, replace(INFO, step=step))
    print(step, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    written = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.kill()
    process.wait(30)
    process.stdout.close()
    found = load_checkpoint(str(tmp_path / "last.safetensors"))
    assert found.info is not None
    assert found.info.step >= written


# --- files of others ---


def test_released_hsmr(golden_dir: Path, config: NetworkConfig) -> None:
    path = golden_dir / "hsmr_tiny.ckpt"
    found = load_checkpoint(str(path), config=config)
    assert isinstance(found.network, Hsmr)
    assert found.info is None
    weights = state_dict(path)
    assert "skel_model.skin_template_v" in weights  # stored beside the network, and left out
    assert found.network.state_dict().keys() == weights.keys() - {"skel_model.skin_template_v"}
    assert torch.equal(found.network.head.poses_decoder.weight, weights["head.poses_decoder.weight"])


@pytest.mark.parametrize("prefix", ["module.", "pipeline.model."])
def test_wrapped_networks(prefix: str, tmp_path: Path) -> None:
    network, path = Hsmr(SMALL), tmp_path / "wrapped.pt"
    weights = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights | {"loss.scale": torch.ones(1)}}, path)
    assert same(load_checkpoint(str(path), config=SMALL).network, network)


def test_released_hmr2(tmp_path: Path) -> None:
    network, path = Hmr2(SMALL), tmp_path / "hmr2.ckpt"
    beside = {"discriminator.fc.weight": torch.ones(1), "smpl.v_template": torch.ones(3)}
    torch.save({"epoch": 35, "state_dict": network.state_dict() | beside}, path)
    found = load_checkpoint(str(path), config=SMALL)
    assert isinstance(found.network, Hmr2)
    assert same(found.network, network)


def test_bare_state_dict(tmp_path: Path) -> None:
    network, path = Hsmr(SMALL), tmp_path / "bare.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(str(path), config=SMALL).network, network)


def test_the_variant_is_found_by_its_shapes(tmp_path: Path) -> None:
    network, path = Hsmr(variant("tiny")), tmp_path / "tiny.ckpt"
    torch.save({"state_dict": network.state_dict()}, path)
    assert same(load_checkpoint(str(path)).network, network)
    with pytest.raises(CheckpointError, match=r"tiny\.ckpt does not fit.*wrong shape.*It fits variant 'tiny'"):
        load_checkpoint(str(path), config=SMALL)


def test_no_variant_fits(golden_dir: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"hsmr_tiny\.ckpt fits no variant \(tiny, mini, b, l, h\)\. Nearest is 'tiny'"
    ):
        load_checkpoint(str(golden_dir / "hsmr_tiny.ckpt"))


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    weights, path = Hsmr(SMALL).state_dict(), tmp_path / "odd.ckpt"
    del weights["head.cam_decoder.bias"]
    weights["head.extra"] = torch.ones(1)
    torch.save({"state_dict": weights}, path)
    with pytest.raises(CheckpointError, match=r"missing: head\.cam_decoder\.bias; unexpected: head\.extra"):
        load_checkpoint(str(path), config=SMALL)


def test_vitpose_backbone(golden_dir: Path, config: NetworkConfig) -> None:
    path, network = golden_dir / "vitpose_tiny.pth", Hsmr(config)
    head = network.head.poses_decoder.weight.clone()
    load_backbone(network.backbone, str(path))
    assert torch.equal(network.backbone.get_parameter("pos_embed"), state_dict(path)["backbone.pos_embed"])
    assert torch.equal(network.head.poses_decoder.weight, head)
    with pytest.raises(CheckpointError, match=r"vitpose_tiny\.pth does not fit this backbone.*No variant"):
        load_backbone(Hsmr(SMALL).backbone, str(path))
    with pytest.raises(CheckpointError, match=r"only a backbone"):
        load_checkpoint(str(path))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.backbone."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_vitpose_backbones_by_any_prefix(prefix: str, wrapped: bool, tmp_path: Path) -> None:
    """The published backbone alone has bare names (`pos_embed`, `blocks.*`, `patch_embed.*`, `last_norm.*`)."""
    pretrained, network, path = Hsmr(SMALL).backbone, Hsmr(SMALL), tmp_path / "vitpose_backbone.pth"
    weights = {prefix + name: value for name, value in pretrained.state_dict().items()}
    beside = {prefix.removesuffix("backbone.") + "keypoint_head.final_layer.bias": torch.ones(17)}
    weights |= beside | {prefix + "cls_token": torch.zeros(1, 1, 32)}
    torch.save({"state_dict": weights} if wrapped else weights, path)
    load_backbone(network.backbone, str(path))
    assert same(network.backbone, pretrained)
    with pytest.raises(CheckpointError, match=r"vitpose_backbone\.pth holds neither.*only a backbone"):
        load_checkpoint(str(path))


def test_configuration_objects_beside_the_weights_are_ignored(tmp_path: Path) -> None:
    """Lightning stores hyper-parameters; released files hold OmegaConf objects."""
    network, path = Hsmr(SMALL), tmp_path / "lightning.ckpt"
    settings = OmegaConf.create({"model": {"sizes": [1, 2.0, None], "name": "${x}"}, "x": "y"})
    torch.save({"hyper_parameters": {"cfg": settings}, "state_dict": network.state_dict(), "loops": {}}, path)
    assert same(load_checkpoint(str(path), config=SMALL).network, network)


class Runs:
    """What a hostile file would do when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_are_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / "hostile.ckpt"
    content = {"state_dict": Hsmr(SMALL).state_dict(), "hyper_parameters": Runs(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt is refused.*(posix|nt)\.system"):
        load_checkpoint(str(path), config=SMALL)
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt is refused"):
        load_backbone(Hsmr(SMALL).backbone, str(path))
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 but no zip", b"\x80\x02}q\x00."])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"odd\.ckpt"):
        load_checkpoint(str(path))


def test_truncated_pickles(tmp_path: Path) -> None:
    buffer, path = io.BytesIO(), tmp_path / "cut.ckpt"
    torch.save({"state_dict": Hsmr(SMALL).state_dict()}, buffer)
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(buffer.getvalue()[: int(share * buffer.tell())])
        with pytest.raises(CheckpointError, match=r"cut\.ckpt is no readable checkpoint"):
            load_checkpoint(str(path), config=SMALL)


# --- training state ---


def test_training_state(storage: Storage) -> None:
    network = Hsmr(SMALL)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(normalise(crops(2, seed=1))).q.square().sum().backward()
    optimiser.step()
    state = {"optimiser": optimiser.state_dict(), "random": torch.get_rng_state(), "epoch": 2, "place": [1, "shard"]}
    save_state(storage, "state.pt", state)
    found = load_state(storage, "state.pt")
    assert torch.equal(found["random"], state["random"])
    assert (found["epoch"], found["place"]) == (2, [1, "shard"])
    again = torch.optim.AdamW(network.parameters(), lr=1e-3)
    again.load_state_dict(found["optimiser"])
    before, after = optimiser.state_dict()["state"], again.state_dict()["state"]
    assert all(torch.equal(before[i]["exp_avg"], after[i]["exp_avg"]) for i in before)


def test_training_state_that_could_not_be_read_back_is_not_written(storage: Storage) -> None:
    with pytest.raises(CheckpointError, match=r"state\.pt is refused.*NetworkConfig"):
        save_state(storage, "state.pt", {"config": SMALL})
    assert storage.names("") == []
