"""Our checkpoint file: safetensors whose header carries, as JSON, which network it is and how its weights came to be.

One file, so it is there whole or not at all; its sha256 is the checkpoint digest of the label lineage.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import safetensors.torch
from safetensors import SafetensorError

from pipeline.storage.storage import Storage
from trainer.checkpoint.errors import CheckpointError
from trainer.checkpoint.network_weights import KINDS, Network, build, kind_of, require_finite
from trainer.network.decoder import DecoderConfig
from trainer.network.keypoint_net import KeypointNetConfig
from trainer.network.variants import NetworkConfig
from trainer.network.vit import VitConfig

_HEADER_BYTES = 100 * 2**20  # safetensors' own bound
_HEADER_KEY = "checkpoint"  # one key only: the order of several is not fixed, and the digest would change with it


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """How weights came to be. Nothing in it changes when the same training is run again.

    generation_snapshot_id: the label generation trained on, None for weights that were not trained on one; round: its
    number; step: optimiser steps taken; config: the whole training configuration, YAML. How far predictions were off on
    held-out people, one standard deviation for everyone: q_std (46,) rad, betas_std (10,); spread_factors (46,): what
    the standard deviations of the spread head are multiplied by. population_std (56,): how much the labels of these
    people differ, q rad and betas. Each is empty where it was not measured.
    """

    variant: str
    generation_snapshot_id: int | None
    round: int | None
    step: int
    body_digest: str
    config: str
    code_revision: str
    q_std: tuple[float, ...] = ()
    betas_std: tuple[float, ...] = ()
    spread_factors: tuple[float, ...] = ()
    population_std: tuple[float, ...] = ()


def save_checkpoint(storage: Storage, name: str, network: Network, info: CheckpointInfo) -> str:
    """Write `name` all at once and return its digest. Equal weights and info give an equal file.

    Raises CheckpointError, and writes nothing, if a weight is not finite.
    """
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    require_finite(weights, storage.url(name))
    header = {"kind": kind_of(network), "network": asdict(network.config), "info": asdict(info)}
    data = safetensors.torch.save(weights, {_HEADER_KEY: json.dumps(header, sort_keys=True)})
    storage.write(name, data)
    return hashlib.sha256(data).hexdigest()


def is_own(file: BinaryIO) -> bool:
    """Does the file start like safetensors: eight bytes of length, then JSON?"""
    start = file.read(9)
    file.seek(0)
    return start[8:] == b"{"


def read_own(file: BinaryIO, address: str) -> tuple[Network, CheckpointInfo]:
    """Raises CheckpointError for a damaged file and for safetensors that hold no network of ours."""
    data = file.read()
    try:
        weights = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        content = json.loads(header[_HEADER_KEY])
        kind, config = content["kind"], _network_config(content["network"])
        info = CheckpointInfo(**{name: _frozen(value) for name, value in content["info"].items()})
    except SafetensorError as error:
        raise CheckpointError(f"{address} is damaged: {error}. Copy it again or use another checkpoint.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{address} is a safetensors file, but its header does not say which network it holds ({error!r}). "
            "Only files written by the training of this version of the project can be read."
        ) from error
    if kind not in KINDS:
        raise CheckpointError(f"{address} holds a network of kind {kind!r}; known are {', '.join(KINDS)}")
    return build(kind, config, weights, address), info


def read_info(file: BinaryIO, address: str) -> CheckpointInfo:
    """What a file of ours says of itself, its weights unread. Raises CheckpointError where it does not."""
    try:
        length = int.from_bytes(file.read(8), "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        content = json.loads(json.loads(file.read(length))["__metadata__"][_HEADER_KEY])
        return CheckpointInfo(**{name: _frozen(value) for name, value in content["info"].items()})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{address} is no checkpoint of this project, or damaged: {error!r}") from error


def _frozen(value: Any) -> Any:
    """JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


def _network_config(stored: Mapping[str, Any]) -> NetworkConfig:
    """Files from before there were options say nothing of them, and from before there were two backbones `vit`."""
    options = {name: value for name, value in stored.items() if name not in {"vit", "backbone", "decoder"}}
    backbone = {name: _frozen(value) for name, value in (stored.get("vit") or stored["backbone"]).items()}
    config = KeypointNetConfig(**backbone) if "widths" in backbone else VitConfig(**backbone)
    return NetworkConfig(backbone=config, decoder=DecoderConfig(**stored["decoder"]), **options)
