"""AdamW with a linear warm-up, the scale of float16 gradients, and the exponential moving average of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trainer.training.train_config import OptimizerConfig


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over all weights, as HSMR (learning rate 1e-5, weight decay 1e-4)."""
    fused = next(network.parameters()).is_cuda
    return torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused
    )


def make_scaler(config: OptimizerConfig, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients above the least number of float16; does nothing for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: a linear ramp over warm_up_steps, then constant, or with
    decay=cosine half a cosine to 0. Stateless, so resumable.
    """
    ramp = min(1.0, (step + 1) / config.warm_up_steps) if config.warm_up_steps else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps)) if config.decay == "cosine" else 1.0
    rate = config.learning_rate * ramp * fall
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


class WeightAverage:
    """Exponential moving average of a network's weights: average += (1 - decay) (weights - average), each step.

    The decay starts lower, min(decay, (1 + n) / (10 + n)), so that the random first weights are forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


@contextmanager
def judged_weights(network: nn.Module, average: WeightAverage | None) -> Iterator[None]:
    """Within the block the network has the weights that are judged: the averaged ones where there are any."""
    if average is None:
        yield
        return
    kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.weights)
    try:
        yield
    finally:
        network.load_state_dict(kept)
