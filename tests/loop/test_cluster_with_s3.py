"""The commands of the README on a cluster of two nodes, with shards, labels and checkpoints on a real S3 server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.labels import LabelStore
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.services.ray_nodes import ROOT, operator_environment, ray_head, ray_worker_node, submit
from tests.services.s3_server import S3Server
from trainer.training.record import read_records

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an operator has: a token for the cluster, AWS variables for the storage, a home folder of its own."""
    home = tmp_path_factory.mktemp("home")
    return operator_environment(home, **s3_server.env, HOME=str(home))


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Addresses of the job server and of the cluster: a head and a second node, one CPU each."""
    with ray_head(environment, cpus=1) as (jobs, address), ray_worker_node(environment, address, cpus=1):
        yield jobs, address


def test_the_commands_of_the_readme_up_to_round_3(
    cluster: tuple[str, str], environment: dict[str, str], s3_server: S3Server, tmp_path: Path
) -> None:
    jobs, ray_address = cluster
    local = write_shards(tmp_path / "made", make_samples(24), 3)
    fsspec.filesystem("s3").put(str(tmp_path / "made"), s3_server.url("input/made"), recursive=True)
    root = s3_server.url("loop/labels")
    storage = [f"storage.root={root}", f"storage.catalog=sqlite:///{tmp_path}/catalog.db"]
    shards = f"data.shards={s3_server.url('input/made')}/{Path(local).name}"

    def refine(round: int, *more: str) -> None:
        command = ["python", "jobs/refine_round.py", "fit.device=cpu", *storage, "--round", str(round), *more]
        done = submit(jobs, environment, "--", *command)
        assert f"Round {round} is published" in done.stdout, done.stdout + done.stderr

    def train(round: int) -> None:
        small = ["network.variant=tiny", "data.global_batch=8", "data.lanes=4", "data.held_out_share=0.2",
                 "run.workers=2", "run.device=cpu", "schedule.max_steps=6", "schedule.validate_every=3",
                 "run.progress=false"]  # fmt: skip
        done = subprocess.run(
            ["make", "train-round", f"ROUND={round}", f"ARGS={' '.join([*storage, *small])}"],
            cwd=ROOT, env=environment | {"RAY_ADDRESS": ray_address}, capture_output=True, text=True, timeout=1200,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Best checkpoint: s3://" in done.stdout

    refine(0, shards)
    train(0)
    refine(1)
    refine(2)
    refine(3)
    train(3)

    store = LabelStore(root, f"sqlite:///{tmp_path}/catalog.db")
    assert [generation.rows for generation in store.rounds()] == [24, 24, 24, 24]
    (first,), (last,) = (read_records(store.storage, round) for round in (0, 3))
    assert [(record.status, record.workers, record.steps) for record in (first, last)] == [("finished", 2, 6)] * 2
    lineage = store.lineage(1)
    assert lineage.checkpoint_uri == f"{root}/{first.best_checkpoint}"
    assert lineage.checkpoint_digest == first.best_digest
