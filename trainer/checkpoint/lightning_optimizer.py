"""The AdamW state in a Lightning checkpoint of HSMR or HMR2.0, so that a training goes on where theirs stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.checkpoint.addresses import opened
from trainer.checkpoint.errors import CheckpointError
from trainer.checkpoint.foreign import network_weights_in, read_pickle
from trainer.checkpoint.network_weights import Network

_MOMENTS: Final = ("exp_avg", "exp_avg_sq")
_SHARED: Final = ("betas", "eps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """AdamW's state of one weight, after `step` steps; the averages have the weight's shape."""

    step: float
    exp_avg: Float[Tensor, "..."]
    exp_avg_sq: Float[Tensor, "..."]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamWState:
    """of: by the name of the weight; who has no state is not there. betas, eps: by which the averages were made."""

    of: Mapping[str, Moments]
    betas: tuple[float, float]
    eps: float


def read_adamw_state(address: str, network: Network) -> AdamWState:
    """The state of the first optimiser in the file, by the names that its weights have in `network`.

    The file numbers weights in the order in which they were given to the optimiser: that of its own state dict, the
    backbone before the head or the head before the backbone. The order counts whose shapes agree with the state's one
    by one. Raises FileNotFoundError; CheckpointError where the file has no such state or it fits no order, or both.
    """
    with opened(address) as file:
        content = read_pickle(file, address)
    states = content.get("optimizer_states")
    found = states[0] if isinstance(states, list | tuple) and states else None
    if not isinstance(found, dict) or not _is_adamw(found):
        raise CheckpointError(
            f"{address} has no state of AdamW (optimizer_states[0] with state and param_groups): set "
            "optimizer.resume=false to start with a fresh one."
        )
    numbers = [number for group in found["param_groups"] for number in group["params"]]
    names = _names(address, content, network, numbers, found["state"])
    betas, eps = _shared(address, found["param_groups"])
    moments = {
        name: _moments(address, name, number, found["state"][number])
        for name, number in zip(names, numbers, strict=True)
        if number in found["state"]
    }
    return AdamWState(of=moments, betas=betas, eps=eps)


def continue_adamw(optimizer: torch.optim.AdamW, network: Network, found: AdamWState) -> None:
    """Put the state into an optimiser over all weights of the network, in their order. Rates and decay stay its own."""
    own = optimizer.state_dict()
    names = [name for name, _ in network.named_parameters()]
    own["state"] = {
        number: {
            "step": torch.tensor(found.of[name].step, dtype=torch.float32),
            "exp_avg": found.of[name].exp_avg,
            "exp_avg_sq": found.of[name].exp_avg_sq,
        }
        for number, name in enumerate(names)
        if name in found.of
    }
    for group in own["param_groups"]:
        group["betas"], group["eps"] = found.betas, found.eps
    optimizer.load_state_dict(own)


def _is_adamw(found: Mapping[str, Any]) -> bool:
    groups, state = found.get("param_groups"), found.get("state")
    return (
        isinstance(state, dict)
        and isinstance(groups, list)
        and all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)
        and all(isinstance(one, dict) and all(name in one for name in ("step", *_MOMENTS)) for one in state.values())
    )


def _names(
    address: str,
    content: Mapping[str, Any],
    network: Network,
    numbers: Sequence[object],
    state: Mapping[object, Mapping[str, object]],
) -> list[str]:
    """The weight that each number stands for."""
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    there = [name for name in network_weights_in(content) if name in shapes]
    parts = (
        [name for name in there if name.startswith("backbone.")],
        [name for name in there if not name.startswith("backbone.")],
    )
    orders = [parts[0] + parts[1], parts[1] + parts[0]]
    if len(numbers) != len(there) or len(set(numbers)) != len(numbers):
        raise CheckpointError(
            f"{address}: its optimiser has {len(numbers)} weights ({len(set(numbers))} different ones), its network "
            f"{len(there)} that this one has: which belongs to which cannot be told. Set optimizer.resume=false."
        )
    wrong = [_first_wrong(order, shapes, numbers, state) for order in orders]
    fitting = [order for order, fault in zip(orders, wrong, strict=True) if fault is None]
    if len(fitting) == 1 or (fitting and orders[0] == orders[1]):
        return fitting[0]
    if fitting:
        raise CheckpointError(f"{address}: its optimiser state fits backbone before head and head before backbone.")
    raise CheckpointError(
        f"{address}: its optimiser state fits no order of its weights. Backbone before head: {wrong[0]}; head before "
        f"backbone: {wrong[1]}. Set optimizer.resume=false."
    )


def _first_wrong(
    order: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    numbers: Sequence[object],
    state: Mapping[object, Mapping[str, object]],
) -> str | None:
    for name, number in zip(order, numbers, strict=True):
        for moment in _MOMENTS:
            value = state[number][moment] if number in state else None
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            if number in state and shape != shapes[name]:
                return f"{moment} of number {number} is {shape}, {name} {shapes[name]}"
    return None


def _moments(address: str, name: str, number: object, state: Mapping[str, Any]) -> Moments:
    if "max_exp_avg_sq" in state:
        raise CheckpointError(f"{address}: its optimiser is AdamW with amsgrad, which this training does not have.")
    step = state["step"]
    steps = float(step) if isinstance(step, int | float) or (isinstance(step, Tensor) and step.numel() == 1) else -1.0
    first, second = (state[moment].to(torch.float32) for moment in _MOMENTS)
    if not (0 <= steps < float("inf") and torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise CheckpointError(f"{address}: the optimiser state of {name} (number {number}) is not finite.")
    if (second < 0).any():
        raise CheckpointError(f"{address}: exp_avg_sq of {name} (number {number}) is negative.")
    return Moments(step=steps, exp_avg=first, exp_avg_sq=second)


def _shared(address: str, groups: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], float]:
    """betas and eps, which all groups must have in common."""
    first = groups[0] if groups else {}
    betas, eps = (first.get(name) for name in _SHARED)
    if any(group.get(name) != first.get(name) for group in groups for name in _SHARED):
        raise CheckpointError(f"{address}: the groups of its optimiser have different betas or eps.")
    sound = isinstance(betas, list | tuple) and len(betas) == 2 and all(isinstance(x, float | int) for x in betas)
    if not (sound and all(0 <= x < 1 for x in betas) and isinstance(eps, float | int) and 0 <= eps < 1):  # pyrefly: ignore
        raise CheckpointError(f"{address}: the optimiser has betas={betas!r}, eps={eps!r}; no such AdamW is known.")
    return (float(betas[0]), float(betas[1])), float(eps)  # pyrefly: ignore
