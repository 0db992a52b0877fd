"""Training on a real Ray: two workers, one of them killed, end with the curve of one undisturbed worker."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from tests.jobs.test_refine_round import command
from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.jobs import ALONE, small_config, small_job
from trainer.training.ray_stage import TrainingPlacement, train_on_ray
from trainer.training.worker import TrainingWorker
from trainer.training.worker_range import WorkerRange

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def kill_a_worker_once(state: Path, killed: list[int]) -> None:
    """kill -9 of one Ray Train worker, as soon as the run has saved a state."""
    while not state.exists():
        time.sleep(0.02)
    workers = [int(p.name) for p in Path("/proc").glob("[0-9]*") if command(int(p.name)).startswith("ray::RayTrain")]
    victim = workers[-1]
    os.kill(victim, signal.SIGKILL)
    killed.append(victim)


def test_a_killed_worker_is_replaced_and_the_curve_stays(tmp_path: Path) -> None:
    index = make_generation(tmp_path / "made", shards=2, held_out_share=0.2)
    config = small_config("schedule.max_steps=14", "schedule.validate_every=7", "run.save_every=2")
    expected = TrainingWorker(small_job(tmp_path / "alone", index, config), ALONE).run()
    job = small_job(tmp_path / "ray", index, config)
    killed: list[int] = []
    state = tmp_path / "ray" / job.file("state.pt")
    killer = threading.Thread(target=kill_a_worker_once, args=(state, killed), daemon=True)
    killer.start()
    placement = TrainingPlacement(workers=WorkerRange(2, 2), device="cpu", cpus_per_worker=1)
    outcome = train_on_ray(job, placement, 3, shown=False)
    assert killed, "a worker was killed"
    assert outcome.steps == 14
    torch.testing.assert_close(outcome.losses, expected.losses, rtol=1e-5, atol=0)
    assert [row["step"] for row in outcome.history] == [7, 14]
    assert outcome.best["mpjpe_mm"] == pytest.approx(expected.best["mpjpe_mm"], rel=1e-4)
