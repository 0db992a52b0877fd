"""Two workers, or three with unequal shares, take the same steps as one: gradients and the curve."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.jobs import ALONE, CPU, small_config, small_job
from trainer.data import LabelIndex
from trainer.training.job import Place
from trainer.training.train_config import TrainConfig
from trainer.training.worker import TrainingWorker

STEPS = 20


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    """Some without a label, so that workers have different shares of those who have one."""
    made = tmp_path_factory.mktemp("made")
    return make_generation(made, shards=2, held_out_share=0.2, unlabelled=(0, 3, 4, 5, 11, 17))


def gradients(job_root: Path, index: LabelIndex, place: Place, *overrides: str) -> tuple[list[Tensor], list[float]]:
    """The gradient of every step, as one vector, and the losses."""
    found: list[Tensor] = []

    def keep(step: int, network: nn.Module) -> None:
        found.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).clone())

    outcome = TrainingWorker(small_job(job_root, index, settings(*overrides)), place).run(keep)
    return found, outcome.losses


def settings(*overrides: str) -> TrainConfig:
    return small_config(f"schedule.max_steps={STEPS}", f"schedule.validate_every={STEPS}", *overrides)


def _rank_main(rank: int, world: int, port: int, root: Path, index: LabelIndex, overrides: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    found = gradients(root, index, Place(rank=rank, world=world, device=CPU), *overrides)
    torch.save(found, root / f"rank{rank}.pt")
    dist.destroy_process_group()


EVERYTHING = ["network.drop_path=0.6", "network.uncertainty=head", "prior.weight=0.1", "prior.learning_rate=1e-3"]


def motion(folder: Path) -> str:
    """A file of made-up poses for the adversarial prior, as an override."""
    rng = np.random.default_rng(0)
    file = folder / "motion.npz"
    np.savez(file, poses=rng.normal(0, 0.1, (20, 46)), betas=np.zeros((20, 10)), pve_max=np.zeros(20))
    return f"prior.mocap=[{file}]"


@pytest.mark.parametrize(
    ("world", "more", "parts"),
    [
        (2, [], 1),
        (2, [], 2),
        (3, [], 1),
        (3, [*EVERYTHING, "schedule.max_steps=8"], 3),
    ],
    ids=["two", "two in parts", "three", "three in parts with everything"],
)
def test_workers_equal_one(index: LabelIndex, tmp_path: Path, world: int, more: list[str], parts: int) -> None:
    """In one piece each, or in micro-batches, the third worker of fewer; who skips which blocks does not depend on it,
    nor what a labelled person counts in the loss of the spread, nor how the discriminator learns. Of four lanes three
    workers own two, one and one.

    Rounding grows from step to step, on some processors beyond 1e-5: there, up to three times what one worker differs
    from itself when it adds up in another order. The first steps leave it no time.
    """
    more = [*more, motion(tmp_path)]
    alone, losses = gradients(tmp_path / "one", index, ALONE, *more)
    reordered, _ = gradients(tmp_path / "reordered", index, ALONE, *more, "run.accumulate=2")
    (tmp_path / "together").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    overrides = (*more, f"run.accumulate={parts}")
    mp.spawn(_rank_main, args=(world, port, tmp_path / "together", index, overrides), nprocs=world)
    ranks = [torch.load(tmp_path / "together" / f"rank{rank}.pt", weights_only=True) for rank in range(world)]
    for other in ranks[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ranks[0][0], other[0], strict=True)), "ranks hold one gradient"
    assert len(alone) == len(ranks[0][0]) >= 8
    differences, rounding = (
        [float((a - b).norm() / a.norm()) for a, b in zip(alone, other, strict=True)]
        for other in (ranks[0][0], reordered)
    )
    print("largest relative difference of the gradient:", max(differences), "by rounding alone:", max(rounding))
    bound = max(1e-5, 3 * max(rounding))
    assert differences[0] < 1e-6
    assert max(differences[:5]) < max(1e-6, 3 * max(rounding[:5]))
    assert max(differences) < bound < 1e-3
    torch.testing.assert_close(losses, ranks[0][1], rtol=bound, atol=0)
