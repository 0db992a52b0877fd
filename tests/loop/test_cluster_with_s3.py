"""The commands of the README on a cluster of two nodes, with shards, labels and checkpoints on a real S3 server."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.labels import LabelStore
from tests.rounds.made_shards import make_samples, write_shards
from tests.rounds.test_ray_cluster import BIN, ROOT, TOKEN, free_ports, submit, wait_for_server
from tests.s3_server import S3Server
from trainer.training.record import read_records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skip(reason="not seen to pass yet: its one run with a working cluster did not end within 8 minutes"),
]


@pytest.fixture(scope="module")
def environment(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an operator has: a token for the cluster, AWS variables for the storage, a home folder of its own."""
    home = tmp_path_factory.mktemp("home")
    token = home / "token"
    token.write_text(TOKEN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    return kept | ray | s3_server.env | {"PATH": f"{BIN}{os.pathsep}{kept['PATH']}", "HOME": str(home)}


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Addresses of the job server and of the cluster: a head and a second node, one CPU each."""
    port, dashboard, client = free_ports(3)
    folder = Path(f"/tmp/ray_s3_{os.getpid()}")  # short: Ray puts sockets below it, whose paths are limited
    ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    head = _start(environment, "--head", f"--temp-dir={folder}", *ports)
    second = None
    try:
        address = wait_for_server(f"http://127.0.0.1:{dashboard}", head)
        second = _start(environment, f"--address=127.0.0.1:{port}")
        yield address, f"127.0.0.1:{port}"
    finally:
        for node in (second, head):
            if node is not None:
                _end(node)


def _start(environment: dict[str, str], *options: str) -> "subprocess.Popen[bytes]":
    command = [str(BIN / "ray"), "start", "--block", "--num-cpus=1", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **quiet)


def _end(node: "subprocess.Popen[bytes]") -> None:
    os.kill(node.pid, signal.SIGTERM)  # `ray start --block` ends the processes it started, and no others
    try:
        node.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)


def test_refine_train_refine(
    cluster: tuple[str, str], environment: dict[str, str], s3_server: S3Server, tmp_path: Path
) -> None:
    jobs, ray_address = cluster
    local = write_shards(tmp_path / "made", make_samples(24), 3)
    fsspec.filesystem("s3").put(str(tmp_path / "made"), s3_server.url("input/made"), recursive=True)
    root = s3_server.url("loop/labels")
    storage = [f"storage.root={root}", f"storage.catalog=sqlite:///{tmp_path}/catalog.db"]
    shards = f"data.shards={s3_server.url('input/made')}/{Path(local).name}"
    refine = ["--", "python", "jobs/refine_round.py", "fit.device=cpu", *storage]

    first = submit(jobs, environment, *refine, "--round", "0", shards)
    assert "Round 0 is published" in first.stdout, first.stdout + first.stderr

    small = ["network.variant=tiny", "data.global_batch=8", "data.lanes=4", "data.held_out_share=0.2", "run.workers=2",
             "run.device=cpu", "schedule.max_steps=6", "schedule.validate_every=3", "run.progress=false"]  # fmt: skip
    trained = subprocess.run(
        ["make", "train-round", "ROUND=0", f"ARGS={' '.join([*storage, *small])}"],
        cwd=ROOT, env=environment | {"RAY_ADDRESS": ray_address}, capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "Best checkpoint: s3://" in trained.stdout

    second = submit(jobs, environment, *refine, "--round", "1")
    assert "Round 1 is published" in second.stdout, second.stdout + second.stderr
    store = LabelStore(root, f"sqlite:///{tmp_path}/catalog.db")
    (record,) = read_records(store.storage, 0)
    assert (record.status, record.workers, record.steps) == ("finished", 2, 6)
    lineage = store.lineage(1)
    assert lineage.checkpoint_uri == f"{root}/{record.best_checkpoint}"
    assert lineage.checkpoint_digest == record.best_digest
    assert store.generation(1).rows == 24
