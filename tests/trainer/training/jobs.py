"""Small training jobs on a made-up generation, without Ray."""

from pathlib import Path

import torch

from pipeline.runtime.config import load_config
from pipeline.storage.opening import open_storage
from trainer.data import LabelIndex
from trainer.training.job import Place, TrainingJob
from trainer.training.train_config import TrainConfig

CPU = torch.device("cpu")
TRAINING_ID = "0123456789ab"
ALONE = Place(rank=0, world=1, device=CPU)


def small_config(*overrides: str) -> TrainConfig:
    """Eight people a step, the tiny network, a rate at which a few steps make a difference."""
    return load_config(
        TrainConfig,
        [
            "network.variant=tiny",
            "data.global_batch=8",
            "data.lanes=4",
            "data.shuffle_people=8",
            "optimizer.learning_rate=3e-4",
            "run.device=cpu",
            "run.progress=false",
            *overrides,
        ],
    )


def small_job(root: Path, index: LabelIndex, config: TrainConfig) -> TrainingJob:
    return TrainingJob(
        config=config,
        storage=open_storage(str(root)),
        index=index,
        round=0,
        training_id=TRAINING_ID,
        snapshot_id=7,
        body_digest="body",
        code_revision="test",
        init_uri=None,
    )
