"""The driver of an elastic training in a process of its own, for the Ray cluster that RAY_ADDRESS names.

python -m tests.trainer.training.elastic_driver FOLDER: trains on FOLDER/made, leaves FOLDER/outcome.pt. While there is
a file FOLDER/hold, training stops at its next saved state but one.
"""

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import ray
import torch

from pipeline.storage.local_storage import LocalStorage
from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.jobs import small_config, small_job
from trainer.training.ray_stage import place_workers, train_on_ray
from trainer.training.train_config import TrainConfig

WORKERS = "2..4"


def config() -> TrainConfig:
    """More steps than LOSS_INTERVAL, so that workers ask whether they are about to be stopped."""
    schedule = ("schedule.max_steps=24", "schedule.validate_every=12", "optimizer.learning_rate=3e-5")
    return small_config(*schedule, "run.save_every=2", f"run.workers={WORKERS}")


class HeldStorage(LocalStorage):
    """A disk on which the write of a state does not end as long as there is a file `hold` in the folder above."""

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        while name.endswith("state.pt") and (Path(self.root).parent / "hold").exists():
            time.sleep(0.05)


def main() -> None:
    """Two workers to four; looks for room every second."""
    folder = Path(sys.argv[1])
    index = make_generation(folder / "made", shards=2, held_out_share=0.2)
    job = small_job(folder / "ray", index, config())
    job = replace(job, storage=HeldStorage(job.storage.root))
    ray.init(log_to_driver=False)
    placement = replace(place_workers(job.config.run.worker_range(), "cpu"), resize_seconds=1.0)
    outcome = train_on_ray(job, placement, 3, shown=False)
    torch.save(asdict(outcome), folder / "outcome.pt")


if __name__ == "__main__":
    main()
