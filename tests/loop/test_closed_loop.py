"""The closed loop: when it stops, what it writes down, how its command reads settings; a real one is killed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.run_loop import _configs, main
from pipeline.labels import LabelStore
from pipeline.labels.files.lineage import Quantiles
from pipeline.runtime.config import ConfigError
from pipeline.storage.opening import open_storage
from tests.jobs.test_refine_round import wait_for
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.repository import ROOT
from trainer.closed_loop import LoopLog, quality_stop, read_state, stop_reason
from trainer.training.record import TrainingRecord, read_records


def errors(mean: float, p50: float, p95: float) -> Quantiles:
    return Quantiles(count=100, mean=mean, p05=0.0, p50=p50, p95=p95, max=1.0)


def test_a_round_that_lowers_any_of_mean_median_and_tail_goes_on() -> None:
    before = errors(0.010, 0.008, 0.030)
    assert stop_reason(before, errors(0.010, 0.008, 0.028), 0.01) is None
    assert stop_reason(before, errors(0.0098, 0.008, 0.030), 0.01) is None
    reason = stop_reason(before, errors(0.00999, 0.00799, 0.030), 0.01)
    assert reason is not None
    assert "less than 1.0%" in reason
    assert "mean -0.10%" in reason
    assert stop_reason(before, before, 0.0) is None, "0 never stops"
    assert stop_reason(before, errors(0.02, 0.02, 0.04), 0.0) is None


def test_a_fall_that_another_sample_might_not_show_is_none() -> None:
    def sampled(mean: float, count: int) -> Quantiles:
        return Quantiles(count=count, mean=mean, p05=0.004, p50=mean, p95=0.004 + 3.29 * 0.005, max=1.0)

    fall = 0.0095 / 0.0100
    assert stop_reason(sampled(0.0100, 50), sampled(0.0095, 50), 0.01) is None
    few = stop_reason(sampled(0.0100, 50), sampled(0.0095, 50), 0.01, sampled=True)
    assert few is not None, "5 % of the mean, whose standard error is 7 %"
    assert "lowered the held-out error of its parent by less than 1.0% or one standard error of 50 people" in few
    assert f"mean {fall - 1:+.2%}" in few
    assert stop_reason(sampled(0.0100, 200), sampled(0.0095, 200), 0.01, sampled=True) is None, "3.5 %"
    assert stop_reason(sampled(0.0100, 10**6), sampled(0.00995, 10**6), 0.01, sampled=True) is not None


def test_the_heldout_error_decides_where_enough_people_have_one() -> None:
    better, same = errors(0.008, 0.006, 0.02), errors(0.010, 0.008, 0.030)
    few = replace(better, count=29)

    def stops(before: dict[str, Quantiles], after: dict[str, Quantiles]) -> bool:
        return quality_stop(before, after, 0.01) is not None

    assert stops({"kp2d_error": same, "kp2d_heldout_error": same}, {"kp2d_error": better, "kp2d_heldout_error": same})
    assert not stops(
        {"kp2d_error": same, "kp2d_heldout_error": same}, {"kp2d_error": same, "kp2d_heldout_error": better}
    )
    assert stops({"kp2d_error": same, "kp2d_heldout_error": same}, {"kp2d_error": same, "kp2d_heldout_error": few})
    assert not stops({"kp2d_error": same}, {"kp2d_error": better, "kp2d_heldout_error": same})
    assert not stops({}, {})


def test_the_log_is_a_file_that_people_can_read(tmp_path: Path) -> None:
    storage, told = open_storage(str(tmp_path)), []
    log = LoopLog(storage, 2, told.append)
    log.run("refine 0", lambda: {"people": 3})

    def fail() -> dict[str, int]:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        log.run("train 0", fail)
    steps = json.loads((tmp_path / "loop.json").read_text())["steps"]
    assert [(step["step"], step["status"]) for step in steps] == [("refine 0", "done"), ("train 0", "failed")]
    assert steps[1]["error"] == "OSError: disk full"
    again = LoopLog(storage, 2, told.append)
    again.run("train 0", lambda: {"steps": 5})
    state = read_state(storage)
    assert state is not None
    assert [(step.step, step.status) for step in state.steps] == [("refine 0", "done"), ("train 0", "done")]


def test_each_setting_reaches_the_command_that_knows_it() -> None:
    given = ["storage.root=/x", "data.shards=a.tar", "data.global_batch=8", "run.actors=2", "body.gender=female"]
    refine, train = _configs(given)
    assert (refine.storage.root, train.storage.root) == ("/x", "/x")
    assert (refine.data.shards, train.data.global_batch, refine.run.actors) == ("a.tar", 8, 2)
    assert (refine.body.gender, train.body.gender) == ("female", "female")
    with pytest.raises(ConfigError, match=r"Unknown key 'fit\.batchsize'"):
        _configs(["fit.batchsize=3"])


def test_status_without_a_loop_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--status", f"storage.root={tmp_path}"]) == 1
    assert "Start one with --rounds N" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loop_killed_in_training_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Rounds 0 and 1 with a training between; kill -9 of the driver once the training has saved a state."""
    shards = write_shards(tmp_path / "made", make_samples(24), 3)
    root = tmp_path / "labels"
    overrides = [
        *("fit.device=cpu", "run.device=cpu", "run.actors=2", "network.variant=tiny", "data.global_batch=8"),
        *("data.lanes=4", "data.held_out_share=0.2", "schedule.max_steps=12", "schedule.validate_every=6"),
        *("run.save_every=2", "optimizer.learning_rate=1e-3"),
    ]
    loop = [sys.executable, str(ROOT / "jobs" / "run_loop.py"), "--rounds", "1"]
    command = [*loop, f"data.shards={shards}", f"storage.root={root}", *overrides]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: list(root.glob("training/round=00000/run=*/state.pt")), seconds=400)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    store = LabelStore(str(root))
    assert [generation.round for generation in store.rounds()] == [0]
    (record,) = read_records(store.storage, 0)
    assert record.status == "running"

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [generation.round for generation in store.rounds()] == [0, 1]
    (record,) = read_records(store.storage, 0)
    assert (record.status, record.steps, record.snapshot_id) == ("finished", 12, store.generation(0).snapshot_id)
    lineage = store.lineage(1)
    assert record.best_checkpoint is not None
    assert lineage.checkpoint_uri == str(root / record.best_checkpoint)
    assert lineage.checkpoint_digest == record.best_digest
    curve = store.query().execute("SELECT count(*) FROM training WHERE metric = 'loss'").fetchone()
    assert curve == (12,)
    state = read_state(store.storage)
    assert state is not None
    assert [(step.step, step.status) for step in state.steps] == [
        ("refine 0", "done"),
        ("train 0", "done"),
        ("refine 1", "done"),
    ]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert again.returncode == 0, again.stderr
    assert [generation.run_id for generation in store.rounds()] == [store.generation(0).run_id, lineage.run_id]


@pytest.mark.slow
def test_a_cross_fitted_loop_killed_in_its_second_fold_keeps_the_first(tmp_path: Path) -> None:
    """Rounds 0 and 1 with two networks between, each without a half of the people; then by hand, step by step."""
    shards, root = write_shards(tmp_path / "made", make_samples(24), 3), tmp_path / "labels"
    training = [
        *("network.variant=tiny", "data.global_batch=8", "data.lanes=4", "data.held_out_share=0.2", "run.device=cpu"),
        *("schedule.max_steps=6", "schedule.validate_every=6", "run.save_every=2", f"storage.root={root}"),
    ]
    refining = [f"storage.root={root}", "fit.device=cpu", "run.actors=2", "predict.cross_fit=2"]
    settings = [f"data.shards={shards}", *dict.fromkeys([*training, *refining])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    store = LabelStore(str(root))

    def job(name: str, *arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments]

    def done(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = job(name, *arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)

    def folds(status: str) -> dict[int, TrainingRecord]:
        return {r.fold: r for r in read_records(store.storage, 0) if r.status == status and r.folds == 2}

    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(
            job("run_loop", "--rounds", "1", *settings), env=environment, stdout=log, stderr=log
        )  # fmt: skip
    try:
        wait_for(lambda: folds("running").keys() == {1}, seconds=400)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    first = folds("finished")[0]
    missing = done("refine_round", "--round", "1", *refining)
    assert missing.returncode == 1
    assert "without fold 1" in missing.stderr
    assert "data.folds=2 data.fold=1" in missing.stderr

    again = done("run_loop", "--rounds", "1", *settings)
    assert again.returncode == 0, again.stdout + again.stderr
    networks = folds("finished")
    assert networks[0] == first
    assert networks.keys() == {0, 1}
    lineage = store.lineage(1)
    assert lineage.checkpoint_uri == " ".join(str(root / str(networks[fold].best_checkpoint)) for fold in (0, 1))
    assert lineage.checkpoint_digest not in {None, *(record.best_digest for record in networks.values())}
    state = read_state(store.storage)
    assert state is not None
    assert [step.step for step in state.steps] == ["refine 0", "train 0 fold 0", "train 0 fold 1", "refine 1"]

    trained = done("train_round", "--round", "0", "--cross-fit", "2", *training)
    assert trained.stdout.count("was already finished") == 2, trained.stdout + trained.stderr
    assert "predict.cross_fit=2" in trained.stdout
    refined = done("refine_round", "--round", "1", *refining)
    assert "already published by this very run" in refined.stdout, refined.stdout + refined.stderr
