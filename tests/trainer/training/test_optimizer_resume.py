"""optimizer.resume=true: a training starts with the AdamW state of the file that it starts from, and only then."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.runtime.config import ConfigError
from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.jobs import ALONE, small_config, small_job
from trainer.checkpoint import CheckpointError
from trainer.network.hsmr import Hsmr
from trainer.network.variants import variant
from trainer.training.train_config import OptimizerConfig, TrainConfig, config_digest
from trainer.training.worker import TrainingWorker


def lightning_file(path: Path) -> tuple[Hsmr, torch.optim.AdamW]:
    """After five steps on gradients of one."""
    network = Hsmr(variant("tiny"))
    optimizer = torch.optim.AdamW(
        [{"params": list(network.backbone.parameters())}, {"params": list(network.head.parameters())}], lr=1e-4
    )
    for _ in range(5):
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    torch.save({"state_dict": network.state_dict(), "optimizer_states": [optimizer.state_dict()]}, path)
    return network, optimizer


def test_a_worker_starts_with_the_state_of_the_file_and_resumes_with_its_own(tmp_path: Path) -> None:
    index = make_generation(tmp_path / "made", shards=1, held_out_share=0.2)
    path = tmp_path / "last.ckpt"
    theirs, optimizer = lightning_file(path)
    words = (f"network.init={path}", "schedule.max_steps=2", "schedule.validate_every=2")
    config = small_config(*words, "optimizer.resume=true")
    job = replace(small_job(tmp_path / "root", index, config), init_uri=str(path))
    worker = TrainingWorker(job, ALONE)
    expected = {name: optimizer.state[weight]["exp_avg"] for name, weight in theirs.named_parameters()}
    for name, weight in worker.network.named_parameters():
        assert worker.optimizer.state[weight]["step"] == 5
        torch.testing.assert_close(worker.optimizer.state[weight]["exp_avg"], expected[name])
    assert worker.run().steps == 2
    again = TrainingWorker(job, ALONE)
    assert {int(state["step"]) for state in again.optimizer.state.values()} == {7}, "its own state, saved since"
    fresh = replace(job, config=small_config(*words), storage=small_job(tmp_path / "fresh", index, config).storage)
    assert not TrainingWorker(fresh, ALONE).optimizer.state


def test_a_file_without_a_state_ends_the_training(tmp_path: Path) -> None:
    index = make_generation(tmp_path / "made", shards=1, held_out_share=0.2)
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": Hsmr(variant("tiny")).state_dict()}, path)
    config = small_config(f"network.init={path}", "optimizer.resume=true")
    with pytest.raises(CheckpointError, match="has no state of AdamW"):
        TrainingWorker(replace(small_job(tmp_path / "root", index, config), init_uri=str(path)), ALONE)


def test_the_file_must_be_named_and_the_choice_is_part_of_a_run_s_identity() -> None:
    with pytest.raises(ConfigError, match=r"name it, network\.init=FILE\.ckpt"):
        small_config("optimizer.resume=true")
    plain = TrainConfig()
    named = replace(plain, network=replace(plain.network, init="a.ckpt"))
    resumed = replace(named, optimizer=OptimizerConfig(resume=True))
    assert config_digest(named) == config_digest(plain), "init counts by its content"
    assert config_digest(resumed) != config_digest(named)
