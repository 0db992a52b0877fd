"""The learning rate of a step, and which settings change what a training is."""

from dataclasses import replace

import pytest
import torch

from trainer.training.optimisation import set_learning_rate
from trainer.training.train_config import OptimizerConfig, TrainConfig, config_digest


def rate(config: OptimizerConfig, step: int, steps: int = 100) -> float:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    found = set_learning_rate(optimizer, config, step, steps)
    assert optimizer.param_groups[0]["lr"] == found
    return found


def test_warm_up_then_constant() -> None:
    config = OptimizerConfig(learning_rate=1.0, warm_up_steps=4)
    assert [rate(config, step) for step in (0, 1, 3, 50, 99, 1000)] == [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_cosine_falls_to_nothing_over_the_planned_steps() -> None:
    config = OptimizerConfig(learning_rate=1.0, warm_up_steps=4, decay="cosine")
    assert [rate(config, step) for step in (0, 50, 100, 200)] == pytest.approx([0.25, 0.5, 0.0, 0.0])
    assert rate(config, 25) == pytest.approx(0.5 + 0.5**1.5)


def test_no_decay_is_the_training_that_it_was_before_there_was_one() -> None:
    plain = TrainConfig()
    falling = replace(plain, optimizer=replace(plain.optimizer, decay="cosine"))
    assert config_digest(plain) != config_digest(falling)
    assert config_digest(plain).startswith("b5e0017e0adf"), "of the same settings, by the code before"
