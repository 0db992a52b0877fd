"""An elastic training on a real Ray cluster: a node comes, a node is lost, and the curve is that of one worker."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.storage.opening import open_storage
from tests.repository import ROOT
from tests.services.ray_nodes import kill_node, operator_environment, ray_head, ray_worker_node
from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.elastic_driver import config
from tests.trainer.training.jobs import ALONE, TRAINING_ID, small_job
from trainer.training.record import run_folder
from trainer.training.state import TrainingState
from trainer.training.worker import STATE, TrainingWorker

pytestmark = pytest.mark.slow
_SECONDS = 180  # for the cluster to be looked at, workers to start, and two steps


def wait_for_workers(folder: Path, counts: list[int], driver: "subprocess.Popen[bytes]") -> TrainingState:
    """The first saved state that groups of these sizes have worked on, one after the other."""
    storage, deadline = open_storage(str(folder / "ray")), time.monotonic() + _SECONDS
    state = None
    while time.monotonic() < deadline:
        assert driver.poll() is None, (folder / "driver.log").read_text()
        state = TrainingState.load(storage, f"{run_folder(0, TRAINING_ID)}/{STATE}")
        if state is not None and [workers for _, workers in state.worker_groups] == counts:
            return state
        time.sleep(0.2)
    raise AssertionError(f"no group of {counts[-1]} workers: {state and state.worker_groups}")


def test_a_group_grows_shrinks_and_ends_as_one_worker_would(tmp_path: Path) -> None:
    """Two CPUs, then three, which own 2, 1 and 1 of the four lanes, then two again, the third killed with its node."""
    environment = operator_environment(tmp_path, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    (tmp_path / "hold").touch()
    with ray_head(environment, cpus=2) as (_, cluster), (tmp_path / "driver.log").open("wb") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.trainer.training.elastic_driver", str(tmp_path)],
            cwd=ROOT,
            env=environment | {"RAY_ADDRESS": cluster},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for_workers(tmp_path, [2], driver)
            with ray_worker_node(environment, cluster, cpus=1) as node:
                wait_for_workers(tmp_path, [2, 3], driver)
                kill_node(node)
                wait_for_workers(tmp_path, [2, 3, 2], driver)
            (tmp_path / "hold").unlink()
            assert driver.wait(_SECONDS) == 0, (tmp_path / "driver.log").read_text()
        finally:
            driver.kill()
            driver.wait()
    outcome = torch.load(tmp_path / "outcome.pt", weights_only=True)
    index = make_generation(tmp_path / "again", shards=2, held_out_share=0.2)
    expected = TrainingWorker(small_job(tmp_path / "alone", index, config()), ALONE).run()
    assert outcome["worker_groups"] == [(0, 2), (2, 3), (4, 2)]
    torch.testing.assert_close(outcome["losses"], expected.losses, rtol=1e-5, atol=0)
    assert [row["step"] for row in outcome["history"]] == [12, 24]
    assert outcome["best"]["mpjpe_mm"] == pytest.approx(expected.best["mpjpe_mm"], rel=1e-4)
