"""A training goes on with the AdamW state of a Lightning checkpoint as torch itself would, or says why it cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainer.checkpoint import CheckpointError, continue_adamw, load_checkpoint, read_adamw_state
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr
from trainer.network.variants import variant
from trainer.training.optimisation import make_optimizer
from trainer.training.train_config import OptimizerConfig

RATE = 1e-3
TINY = variant("tiny")


def step_on(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """One step on made-up gradients, the same for every network of these names."""
    for number, (_, weight) in enumerate(sorted(network.named_parameters())):
        made = torch.Generator().manual_seed(1000 * seed + number)
        weight.grad = torch.randn(weight.shape, generator=made) * 0.1
    optimizer.step()


def plain_optimizer(network: Any, *, head_first: bool, betas: tuple[float, float] = (0.8, 0.95)) -> torch.optim.AdamW:
    """Backbone and head as two groups, as Lightning modules give them."""
    head = network.head if isinstance(network, Hsmr) else network.smpl_head
    parts = [list(network.backbone.parameters()), list(head.parameters())]
    groups = [{"params": part} for part in (parts[::-1] if head_first else parts)]
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=1e-2, betas=betas, eps=1e-7)


def written(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, **changes: Any) -> str:
    """A file as Lightning's trainer writes it: buffers among the weights, body models beside them."""
    content: dict[str, Any] = {
        "epoch": 3,
        "global_step": 3,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": {**network.state_dict(), "skel_model.skin_template_v": torch.ones(3)},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
    }
    torch.save(content | changes, path)
    return str(path)


@pytest.mark.parametrize("head_first", [False, True])
@pytest.mark.parametrize("make", [Hsmr, Hmr2])
def test_it_goes_on_as_torch_does(make: Callable[[Any], Any], head_first: bool, tmp_path: Path) -> None:
    theirs = make(TINY)
    plain = plain_optimizer(theirs, head_first=head_first)
    for seed in range(3):
        step_on(theirs, plain, seed)
    address = written(tmp_path / "last.ckpt", theirs, plain)
    ours = load_checkpoint(address).network
    optimizer = make_optimizer(ours, OptimizerConfig(learning_rate=RATE, weight_decay=1e-2))
    continue_adamw(optimizer, ours, read_adamw_state(address, ours))
    fresh = load_checkpoint(address).network
    fresh_optimizer = make_optimizer(fresh, OptimizerConfig(learning_rate=RATE, weight_decay=1e-2))
    for seed in (7, 8):
        for network, own in ((theirs, plain), (ours, optimizer), (fresh, fresh_optimizer)):
            step_on(network, own, seed)
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)
    apart = [(value - expected[name]).abs().max().item() for name, value in fresh.state_dict().items()]
    assert max(apart) > 1e-4, "without the state it would go another way"


def test_weights_that_the_file_has_not_start_afresh(tmp_path: Path) -> None:
    from dataclasses import replace

    theirs = Hsmr(TINY)
    plain = plain_optimizer(theirs, head_first=False)
    step_on(theirs, plain, 0)
    address = written(tmp_path / "last.ckpt", theirs, plain)
    ours = Hsmr(replace(TINY, camera="full"))
    found = read_adamw_state(address, ours)
    optimizer = make_optimizer(ours, OptimizerConfig())
    continue_adamw(optimizer, ours, found)
    told = {name for name, weight in ours.named_parameters() if weight in optimizer.state}
    assert told == {name for name, _ in theirs.named_parameters()}
    step_on(ours, optimizer, 1)


def made(tmp_path: Path) -> tuple[Hsmr, torch.optim.AdamW]:
    network = Hsmr(TINY)
    plain = plain_optimizer(network, head_first=False)
    step_on(network, plain, 0)
    return network, plain


def broken(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> tuple[str, Hsmr]:
    network, plain = made(tmp_path)
    state = plain.state_dict()
    state["state"] = {number: dict(one) for number, one in state["state"].items()}
    change(state)
    return written(tmp_path / "a.ckpt", network, plain, optimizer_states=[state]), network


def _fewer(state: dict[str, Any]) -> None:
    state["param_groups"][1]["params"].pop()


def _twice(state: dict[str, Any]) -> None:
    state["param_groups"][1]["params"][-1] = 0


def _shape(state: dict[str, Any]) -> None:
    state["state"][5]["exp_avg"] = torch.zeros(3, 7)


def _nan(state: dict[str, Any]) -> None:
    state["state"][5]["exp_avg"] = torch.full_like(state["state"][5]["exp_avg"], float("nan"))


def _negative(state: dict[str, Any]) -> None:
    state["state"][5]["exp_avg_sq"] = -torch.ones_like(state["state"][5]["exp_avg_sq"])


def _step(state: dict[str, Any]) -> None:
    state["state"][5]["step"] = "x"


def _sgd(state: dict[str, Any]) -> None:
    state["state"] = {0: {"momentum_buffer": torch.zeros(3)}}


def _amsgrad(state: dict[str, Any]) -> None:
    state["state"][5]["max_exp_avg_sq"] = state["state"][5]["exp_avg_sq"]


def _betas(state: dict[str, Any]) -> None:
    state["param_groups"][0]["betas"] = (0.9, 0.999)


def _no_betas(state: dict[str, Any]) -> None:
    for group in state["param_groups"]:
        group["betas"] = "x"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_fewer, r"its optimiser has \d+ weights \(\d+ different ones\), its network \d+ that this one has"),
        (_twice, r"its optimiser has (\d+) weights \(\d+ different ones\), its network \1"),
        (_shape, r"fits no order.*Backbone before head: exp_avg of number 5 is \(3, 7\), backbone\.\S+ \("),
        (_nan, r"the optimiser state of backbone\.\S+ \(number 5\) is not finite"),
        (_negative, r"exp_avg_sq of backbone\.\S+ \(number 5\) is negative"),
        (_step, r"\(number 5\) is not finite"),
        (_sgd, r"has no state of AdamW .*optimizer\.resume=false"),
        (_amsgrad, "AdamW with amsgrad"),
        (_betas, "the groups of its optimiser have different betas or eps"),
        (_no_betas, "the optimiser has betas='x'"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    address, network = broken(change, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read_adamw_state(address, network)


@pytest.mark.parametrize(
    "states", [None, [], [{}], [3], "x", [{"state": {}, "param_groups": [{"params": "ab"}]}]], ids=str
)
def test_a_file_without_a_state_is_refused(states: Any, tmp_path: Path) -> None:
    network, plain = made(tmp_path)
    address = written(tmp_path / "a.ckpt", network, plain, optimizer_states=states)
    with pytest.raises(CheckpointError, match="has no state of AdamW"):
        read_adamw_state(address, network)
