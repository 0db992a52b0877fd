"""Checkpoints of others, written by torch.save: HSMR and HMR2.0 (Lightning .ckpt), ViTPose backbones (.pth).

They are pickles. torch's weights-only unpickler reads them and runs nothing; the configuration objects that Lightning
stores beside the weights are replaced by an inert class, since most released files hold some.
"""

import re
import zipfile
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any, BinaryIO, Final, Self

import torch
from jaxtyping import Shaped
from torch import Tensor

from trainer.checkpoint.errors import CheckpointError
from trainer.checkpoint.network_weights import Network, build, fit_backbone, fitting_variant, some
from trainer.network.backbone import Backbone
from trainer.network.variants import NetworkConfig

_BACKBONE: Final = "backbone."
_NOT_OF_BACKBONE: Final = ("cls_token", "keypoint_head.")
_HEADS: Final = {"hsmr": "head.", "hmr2": "smpl_head."}
_CONFIGURATION = re.compile(
    r"omegaconf\.[\w.]+|yacs\.config\.CfgNode|typing\.Any|collections\.defaultdict"
    r"|builtins\.(dict|list|tuple|set|int|float|str|bool)"
)


class _Inert:
    """In place of a configuration object: takes anything, does nothing."""

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read_pickle(file: BinaryIO, address: str) -> dict[str, Any]:
    """The dictionary in a file of torch.save, tensors on the CPU.

    Raises CheckpointError for a damaged file, and for one that holds anything but tensors and plain values.
    """
    try:
        inert: list[Any] = [(_Inert, name) for name in _globals(file) if _CONFIGURATION.fullmatch(name)]
        with torch.serialization.safe_globals(inert):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make torch raise nearly any type
        raise CheckpointError(_why(error, address)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{address} holds a {type(content).__name__}, expected a dictionary of weights")
    return content


def read_released(file: BinaryIO, address: str, config: NetworkConfig | None) -> Network:
    """A released HSMR or HMR2.0 network. config: its architecture, by default the variant that fits."""
    weights = network_weights_in(read_pickle(file, address))
    kind = next((k for k, head in _HEADS.items() if any(name.startswith(head) for name in weights)), None)
    if kind is None:
        raise CheckpointError(
            f"{address} holds neither HSMR (head.*) nor HMR2.0 (smpl_head.*), but {some(weights) or 'no weights'}. "
            "A ViTPose file is only a backbone: it is where a training can start."
        )
    # Body models, discriminators and the like are stored beside the network; they are not part of it.
    own = {name: value for name, value in weights.items() if name.startswith((_BACKBONE, _HEADS[kind]))}
    return build(kind, config or fitting_variant(kind, own, address), own, address)


def load_vitpose(backbone: Backbone, file: BinaryIO, address: str) -> None:
    """Take a backbone's weights from a ViTPose file, whose names begin with `backbone.` or, in a file of the backbone
    alone, with nothing; its class token and keypoint head have no place here.

    Raises CheckpointError when the file is damaged, refused, or of another size of backbone.
    """
    fit_backbone(backbone, _of_backbone(network_weights_in(read_pickle(file, address))), address)


def _of_backbone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What lies beside `pos_embed` in the file, under the names that it has in the backbone."""
    mark = next((name for name in weights if name.rpartition(".")[2] == "pos_embed"), "pos_embed")
    prefix = mark.removesuffix("pos_embed")
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return {name: value for name, value in own.items() if not name.startswith(_NOT_OF_BACKBONE)}


def _why(error: Exception, address: str) -> str:
    refused = re.findall(r"GLOBAL ([\w.]+)", str(error))
    if isinstance(error, UnpicklingError) and refused:
        return (
            f"{address} is refused: besides weights its pickle holds {', '.join(sorted(set(refused)))}, which could "
            "run code. Get the file from its publisher, or save its bare state dict where you trust it."
        )
    return (
        f"{address} is no readable checkpoint ({type(error).__name__}: {str(error).strip()[-200:]}). Expected "
        ".safetensors of this project, or .ckpt, .pth or .pt with weights written by torch.save. Is the copy complete?"
    )


def _globals(file: BinaryIO) -> list[str]:
    """Names in the pickle that the weights-only unpickler does not know; the older file format is not looked into."""
    zipped = zipfile.is_zipfile(file)
    file.seek(0)
    found = torch.serialization.get_unsafe_globals_in_checkpoint(file) if zipped else []
    file.seek(0)
    return found


def network_weights_in(content: Mapping[str, Any]) -> dict[str, Shaped[Tensor, "..."]]:
    """Tensors, in the file's order, under the names they have in the network, whatever it was wrapped in (`module.`,
    `model.`, ...).
    """
    state = content.get("state_dict", content)
    tensors = {name: value for name, value in dict(state).items() if isinstance(value, Tensor)}
    mark = next((name for name in tensors if name.endswith("backbone.pos_embed")), None)
    prefix = mark.removesuffix("backbone.pos_embed") if mark else ""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
