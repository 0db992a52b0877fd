"""Weights and the network they belong to: does a state dict fit, which variant would it fit, build the network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from trainer.checkpoint.errors import CheckpointError
from trainer.network.backbone import Backbone, make_backbone
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr
from trainer.network.networks import Network
from trainer.network.variants import VARIANTS, NetworkConfig

Weights = Mapping[str, Shaped[Tensor, "..."]]

KINDS: Final[Mapping[str, type[Hsmr] | type[Hmr2]]] = {"hsmr": Hsmr, "hmr2": Hmr2}
_SHOWN = 3
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What keeps weights from fitting a network; false when nothing does."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.wrong_shape)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "wrong shape": self.wrong_shape}
        return "; ".join(f"{what}: {some(names)}" for what, names in parts.items() if names)


def mismatch(module: nn.Module, weights: Weights) -> Mismatch:
    """Compare names and shapes with those of `module`, which may be on the meta device."""
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    return Mismatch(
        missing=tuple(name for name in shapes if name not in weights),
        unexpected=tuple(name for name in weights if name not in shapes),
        wrong_shape=tuple(
            f"{name} is {tuple(weights[name].shape)} instead of {tuple(shape)}"
            for name, shape in shapes.items()
            if name in weights and weights[name].shape != shape
        ),
    )


def kind_of(network: Network) -> str:
    """The name of the network's class in `KINDS`."""
    return next(kind for kind, cls in KINDS.items() if isinstance(network, cls))


def build(kind: str, config: NetworkConfig, weights: Weights, address: str) -> Network:
    """The network with these weights, float32 on the CPU. Raises CheckpointError if they do not fit or hold NaN."""
    network = _weightless(KINDS[kind], config)
    problem = mismatch(network, weights)
    if problem:
        fitting = [name for name in VARIANTS if not mismatch(_weightless(KINDS[kind], VARIANTS[name]), weights)]
        hint = f" It fits variant {fitting[0]!r}." if fitting else ""
        raise CheckpointError(f"{address} does not fit the network asked for: {problem}.{hint}")
    require_finite(weights, address)
    copies = {name: value.to(torch.float32, copy=True) for name, value in weights.items()}
    network.load_state_dict(copies, assign=True)
    return network


def fitting_variant(kind: str, weights: Weights, address: str) -> NetworkConfig:
    """The variant with these names and shapes. Raises CheckpointError, naming the nearest, when there is none."""
    problems = {name: mismatch(_weightless(KINDS[kind], config), weights) for name, config in VARIANTS.items()}
    nearest = min(problems, key=lambda name: len(problems[name]))
    if problems[nearest]:
        raise CheckpointError(
            f"{address} fits no variant ({', '.join(VARIANTS)}). Nearest is {nearest!r}: {problems[nearest]}."
        )
    return VARIANTS[nearest]


def fit_backbone(backbone: Backbone, weights: Weights, address: str) -> None:
    """Load weights into a backbone. Raises CheckpointError, naming the variant they belong to, if they do not fit."""
    problem = mismatch(backbone, weights)
    if problem:
        fitting = [
            name
            for name, config in VARIANTS.items()
            if not mismatch(_weightless(make_backbone, config.backbone), weights)
        ]
        hint = f"It is the backbone of variant {fitting[0]!r}." if fitting else "No variant has such a backbone."
        raise CheckpointError(f"{address} does not fit this backbone: {problem}. {hint}")
    require_finite(weights, address)
    backbone.load_state_dict(weights)


def require_finite(weights: Weights, address: str) -> None:
    """Raises CheckpointError naming the weights that hold NaN or infinity."""
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{address} is of no use: {some(broken)} not finite. The training diverged; use an earlier checkpoint."
        )


def some(names: Iterable[str]) -> str:
    """The first few of many names."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _weightless(cls: Callable[[Any], M], config: object) -> M:
    """Names and shapes of a network, without memory for its weights."""
    with torch.device("meta"):
        return cls(config)
