"""`ray job submit` to a running cluster: processes, ports and folders of our own, ended by their ids."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from tests.rounds.made_shards import make_samples, write_shards

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef" * 4


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A clean one: token authentication as a cluster would have it, whatever ~/.ray holds on this machine."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(TOKEN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{BIN}{os.pathsep}{kept['PATH']}"
    return kept | {
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str]) -> Iterator[str]:
    """Address of the job server of a head node that runs in the repository root."""
    port, dashboard, client = free_ports(3)
    folder = Path(f"/tmp/ray_test_{os.getpid()}")  # short: Ray puts sockets below it, whose paths are limited
    command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder}"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    head = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield wait_for_server(f"http://127.0.0.1:{dashboard}", head)
    finally:
        os.kill(head.pid, signal.SIGTERM)  # `ray start --block` ends the processes it started, and no others
        try:
            head.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)


def wait_for_server(address: str, head: "subprocess.Popen[bytes]") -> str:
    request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {TOKEN}"})
    for _ in range(240):
        try:
            with urllib.request.urlopen(request, timeout=5):
                return address
        except OSError:
            assert head.poll() is None, "ray start ended"
            time.sleep(0.5)
    raise AssertionError("the job server does not answer")


def submit(address: str, environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Submit a job and wait for its end; the agent that takes jobs may come up later than the server that offers it."""
    for _ in range(60):
        done = subprocess.run(
            [str(BIN / "ray"), "job", "submit", f"--address={address}", *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if "No available agent to submit job" not in done.stderr:
            return done
        time.sleep(1)
    raise AssertionError("no agent takes jobs")


def test_rounds_run_as_jobs_with_and_without_a_shipped_working_dir(
    cluster: str, environment: dict[str, str], tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "made", make_samples(6), 2)
    root = f"storage.root={tmp_path / 'labels'}"
    job = ["--", "python", "jobs/refine_round.py", "--round"]
    first = submit(cluster, environment, *job, "0", f"data.shards={shards}", root, "fit.device=cpu")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Round 0 is published" in first.stdout
    second = submit(cluster, environment, "--working-dir=.", *job, "1", root, "fit.device=cpu")
    assert second.returncode == 0, second.stdout + second.stderr
    store = LabelStore(str(tmp_path / "labels"))
    assert [(generation.round, generation.rows) for generation in store.rounds()] == [(0, 6), (1, 6)]
    assert store.lineage(1).ray_job_id


def test_a_job_in_a_copied_folder_refuses_relative_paths(
    cluster: str, environment: dict[str, str], tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "made", make_samples(2), 1)
    job = ["--working-dir=.", "--", "python", "jobs/refine_round.py", "--round", "0", f"data.shards={shards}"]
    refused = submit(cluster, environment, *job)
    assert refused.returncode != 0
    assert "storage.root=./labels is relative to the folder that --working-dir copied" in refused.stdout
