"""The training loop of one worker: it learns, stops as told, and a killed one ends where an undisturbed one does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.jobs import ALONE, small_config, small_job
from trainer.checkpoint import load_checkpoint, load_state, save_state
from trainer.data import LabelIndex
from trainer.network.hsmr import Hsmr
from trainer.training.job import Outcome, Progress, TrainingJob
from trainer.training.train_config import TrainConfig
from trainer.training.worker import STATE, TrainingDivergedError, TrainingWorker

STEPS = 8


class Killed(Exception):
    """Stands for the end of the process: nothing after it runs."""


def kill(job: TrainingJob, at: int) -> None:
    """Run the job until it dies within this step."""

    def die(step: int, network: nn.Module) -> None:
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        TrainingWorker(job, ALONE).run(die)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    """2 shards of 24 people, about a fifth of the photos held out."""
    return make_generation(tmp_path_factory.mktemp("made"), shards=2, held_out_share=0.2)


def settings(*overrides: str) -> TrainConfig:
    return small_config(f"schedule.max_steps={STEPS}", "schedule.validate_every=4", "run.save_every=3", *overrides)


@pytest.fixture(scope="module")
def undisturbed(index: LabelIndex, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, list[Progress]]:
    root, told = tmp_path_factory.mktemp("undisturbed"), []
    outcome = TrainingWorker(small_job(root, index, settings("optimizer.ema_decay=0.9")), ALONE, told.append).run()
    return root, outcome, told


def test_it_learns_validates_and_keeps_the_best(undisturbed: tuple[Path, Outcome, list[Progress]]) -> None:
    root, outcome, told = undisturbed
    assert outcome.steps == STEPS
    assert outcome.stopped_because == f"schedule.max_steps={STEPS}"
    assert len(outcome.losses) == STEPS
    assert sum(outcome.losses[-3:]) < sum(outcome.losses[:3])
    assert [row["step"] for row in outcome.history] == [4, 8]
    assert all(row["people"] > 0 and row["mpjpe_mm"] > 0 and 0 <= row["pck_05"] <= 1 for row in outcome.history)
    assert outcome.best == min(outcome.history, key=lambda row: row["mpjpe_mm"])
    info = load_checkpoint(str(root / outcome.best_checkpoint)).info
    assert info is not None
    assert (info.generation_snapshot_id, info.round, info.step) == (7, 0, outcome.best["step"])
    assert told[-1].validation == outcome.history[-1]


@pytest.mark.parametrize("killed_at", [1, 5, 7])
def test_a_killed_run_goes_on_to_the_same_weights(
    killed_at: int, index: LabelIndex, undisturbed: tuple[Path, Outcome, list[Progress]], tmp_path: Path
) -> None:
    """Killed before the first saved state, within the second epoch, after a validation."""

    job = small_job(tmp_path, index, settings("optimizer.ema_decay=0.9"))
    kill(job, at=killed_at)
    again = TrainingWorker(job, ALONE)
    assert again.step == max(step for step in (0, 3, 4, 6) if step <= killed_at)
    outcome = again.run()
    root, expected, _ = undisturbed
    assert outcome.losses == expected.losses
    assert outcome.history == expected.history
    ours, theirs = (load_checkpoint(str(folder / expected.best_checkpoint)) for folder in (tmp_path, root))
    assert ours.digest == theirs.digest, "bit for bit"


def test_the_adversarial_prior_resumes_too(index: LabelIndex, tmp_path: Path) -> None:
    """Off by default; with it the steps are others, and a killed run still ends at the same losses."""
    rng = np.random.default_rng(0)
    motion = tmp_path / "motion.npz"
    np.savez(motion, poses=rng.normal(0, 0.1, (20, 46)), betas=np.zeros((20, 10)), pve_max=np.zeros(20))
    short = ("schedule.max_steps=5", "schedule.validate_every=5", "run.save_every=2")
    config = small_config(*short, "prior.weight=0.1", f"prior.mocap=[{motion}]", "prior.learning_rate=1e-3")
    whole = TrainingWorker(small_job(tmp_path / "whole", index, config), ALONE).run()
    plain = TrainingWorker(small_job(tmp_path / "plain", index, small_config(*short)), ALONE).run()
    assert whole.losses[0] > plain.losses[0]

    job = small_job(tmp_path / "killed", index, config)
    kill(job, at=3)
    assert TrainingWorker(job, ALONE).run().losses == whole.losses


def test_a_warning_is_followed_by_a_saved_state(index: LabelIndex, tmp_path: Path) -> None:
    """Workers ask every 20 steps, and save there and then, between the regular saves."""
    asked: list[int] = []
    job = small_job(
        tmp_path, index, settings("schedule.max_steps=23", "schedule.validate_every=50", "run.save_every=50")
    )

    def about_to_stop() -> bool:
        asked.append(worker.step)
        return True

    def die(step: int, network: nn.Module) -> None:
        if step == 21:
            raise Killed

    worker = TrainingWorker(job, ALONE, about_to_stop=about_to_stop)
    with pytest.raises(Killed):
        worker.run(die)
    assert asked == [20]
    assert TrainingWorker(job, ALONE).step == 20


def test_the_state_says_how_many_workers_there_were(index: LabelIndex, tmp_path: Path) -> None:
    job = small_job(tmp_path, index, settings("schedule.max_steps=6"))
    kill(job, at=4)
    state = load_state(job.storage, job.file(STATE))
    assert (state["step"], state["worker_groups"]) == (4, [(0, 1)])
    state["worker_groups"] = [(0, 3)]
    save_state(job.storage, job.file(STATE), state)
    assert TrainingWorker(job, ALONE).run().worker_groups == [(0, 3), (4, 1)]


def test_every_label_row_is_accounted_for(index: LabelIndex, tmp_path: Path) -> None:
    outcome = TrainingWorker(small_job(tmp_path, index, small_config("schedule.epochs=1")), ALONE).run()
    counts = outcome.data_counts
    left_out = sum(count for name, count in counts.items() if name.startswith("left_out_"))
    assert counts["rows"] == index.rows == 48
    assert counts["rows"] == counts["drawn"] + counts["not_drawn"] + counts["held_out"] + left_out
    assert counts["drawn"] == counts["used"]
    assert outcome.epochs == 1


def test_it_stops_early_without_progress(index: LabelIndex, tmp_path: Path) -> None:
    config = small_config(
        "optimizer.learning_rate=1e-12", "schedule.validate_every=1", "schedule.patience=2", "schedule.best_by=mpjpe_mm"
    )
    outcome = TrainingWorker(small_job(tmp_path, index, config), ALONE).run()
    assert outcome.stopped_because == "no better mpjpe_mm in 2 validations"
    assert outcome.steps <= 6


def test_a_loss_that_is_not_finite_ends_the_run(index: LabelIndex, tmp_path: Path) -> None:
    def poison(step: int, network: nn.Module) -> None:
        if step == 1:
            for parameter in network.parameters():
                torch.nn.init.constant_(parameter, torch.nan)

    worker = TrainingWorker(small_job(tmp_path, index, settings()), ALONE)
    with pytest.raises(TrainingDivergedError, match="no longer finite at step 2"):
        worker.run(poison)


OPTIONS = ("network.camera=full", "network.refine_layers=true")


def test_the_options_train_and_resume_to_the_same_weights(index: LabelIndex, tmp_path: Path) -> None:
    """HSMR's camera, as every row says: the augmented crop's own focal length is told all the same."""
    config = settings(*OPTIONS)
    whole = TrainingWorker(small_job(tmp_path / "whole", index, config), ALONE)
    outcome = whole.run()
    assert sum(outcome.losses[-3:]) < sum(outcome.losses[:3])
    assert isinstance(whole.network, Hsmr)
    token = whole.network.head.camera_token
    assert token is not None
    assert token.out.weight.abs().max() > 0

    kill(small_job(tmp_path / "killed", index, config), at=5)
    again = TrainingWorker(small_job(tmp_path / "killed", index, config), ALONE)
    assert again.run().losses == outcome.losses
    for name, value in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value), name
    found = load_checkpoint(str(tmp_path / "whole" / outcome.best_checkpoint)).network.config
    assert (found.camera, found.refine_layers) == ("full", True)


def test_the_spread_is_trained_beside_the_pose(index: LabelIndex, tmp_path: Path) -> None:
    """Bit for bit the same estimate with the head and without, clipped gradients or not."""
    short = ("schedule.max_steps=3", "schedule.validate_every=3", "run.save_every=3", "optimizer.gradient_clip=0.1")
    found = {}
    for kind in ("none", "head"):
        worker = TrainingWorker(
            small_job(tmp_path / kind, index, settings(f"network.uncertainty={kind}", *short)), ALONE
        )
        found[kind] = worker.run(), worker.network
    weights = found["head"][1].state_dict()
    for name, value in found["none"][1].state_dict().items():
        assert torch.equal(weights[name], value), name
    telling = found["head"][1]
    assert isinstance(telling, Hsmr)
    head = telling.head.spread
    assert head is not None
    assert head.out.weight.abs().max() > 0
    told = load_checkpoint(str(tmp_path / "head" / found["head"][0].best_checkpoint)).info
    assert told is not None
    assert (len(told.q_std), len(told.betas_std), len(told.spread_factors)) == (46, 10, 46)
    assert min(told.spread_factors) > 0


def weights_after(index: LabelIndex, root: Path, *overrides: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of three steps with everything on, and the weights then."""
    motion = root / "motion.npz"
    rng = np.random.default_rng(0)
    root.mkdir()
    np.savez(motion, poses=rng.normal(0, 0.1, (20, 46)), betas=np.zeros((20, 10)), pve_max=np.zeros(20))
    every = ("prior.weight=0.1", f"prior.mocap=[{motion}]", "network.uncertainty=head", "optimizer.gradient_clip=1")
    short = ("schedule.max_steps=3", "schedule.validate_every=3", "run.save_every=3")
    worker = TrainingWorker(small_job(root, index, settings(*every, *short, *overrides)), ALONE)
    return worker.run().losses, worker.network.state_dict()


@pytest.mark.parametrize("micro_batches", [2, 3, 8, 20])
def test_micro_batches_make_the_step_of_the_whole_batch(index: LabelIndex, tmp_path: Path, micro_batches: int) -> None:
    """In float32, to rounding: losses, the spread's, the discriminator's, and the gradients that AdamW is given."""
    found: dict[int, list[torch.Tensor]] = {}
    losses: dict[int, list[float]] = {}
    for count in (1, micro_batches):
        kept = found.setdefault(count, [])

        def keep(step: int, network: nn.Module, kept: list[torch.Tensor] = kept) -> None:
            kept.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))

        short = ("schedule.max_steps=3", "schedule.validate_every=3", "network.uncertainty=head")
        config = settings(f"run.accumulate={count}", *short)
        losses[count] = TrainingWorker(small_job(tmp_path / str(count), index, config), ALONE).run(keep).losses
    assert losses[micro_batches] == pytest.approx(losses[1], rel=1e-5)
    for whole, parts in zip(found[1], found[micro_batches], strict=True):
        assert float((whole - parts).norm() / whole.norm()) < 1e-5


def test_micro_batches_with_the_prior_and_clipping(index: LabelIndex, tmp_path: Path) -> None:
    whole, weights = weights_after(index, tmp_path / "whole")
    parts, others = weights_after(index, tmp_path / "parts", "run.accumulate=4")
    assert parts == pytest.approx(whole, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.slow
def test_float16_trains_and_resumes_with_its_scale(index: LabelIndex, tmp_path: Path) -> None:
    config = settings("optimizer.precision=float16", "run.accumulate=2")
    whole = TrainingWorker(small_job(tmp_path / "whole", index, config), ALONE)
    outcome = whole.run()
    assert sum(outcome.losses[-3:]) < sum(outcome.losses[:3])
    full = TrainingWorker(small_job(tmp_path / "full", index, settings()), ALONE).run().losses
    assert outcome.losses[0] == pytest.approx(full[0], rel=0.01)
    assert outcome.losses[0] != full[0], "the forward pass was in half precision"

    kill(small_job(tmp_path / "killed", index, config), at=5)
    again = TrainingWorker(small_job(tmp_path / "killed", index, config), ALONE)
    assert again.run().losses == outcome.losses
    assert again.scaler.state_dict() == whole.scaler.state_dict()


def test_states_from_before_there_was_a_scale(index: LabelIndex, tmp_path: Path) -> None:
    job = small_job(tmp_path, index, settings("schedule.max_steps=2"))
    TrainingWorker(job, ALONE).run()
    state = load_state(job.storage, job.file(STATE))
    del state["scaler"], state["worker_groups"]
    save_state(job.storage, job.file(STATE), state)
    assert TrainingWorker(job, ALONE).step == 2


@pytest.mark.slow
def test_a_float16_step_that_overflows_is_left_out(index: LabelIndex, tmp_path: Path) -> None:
    """Its scale is halved instead, and the training goes on; a restart knows the scale."""
    job = small_job(tmp_path, index, settings("optimizer.precision=float16", "optimizer.gradient_clip=1"))
    worker = TrainingWorker(job, ALONE)
    worker.scaler.load_state_dict(worker.scaler.state_dict() | {"scale": 2.0**40})
    weights: list[torch.Tensor] = []

    def keep(step: int, network: nn.Module) -> None:
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]).clone())

    outcome = worker.run(keep)
    assert torch.equal(weights[1], weights[0])
    assert np.isfinite(outcome.losses).all()
    scale = worker.scaler.get_scale()
    assert scale < 2.0**40
    assert TrainingWorker(job, ALONE).scaler.get_scale() == scale
