"""`ray start` and `ray job submit` for the tests: processes, ports and folders of our own, ended by their ids."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.repository import ROOT
from tests.services.ports import free_ports

BIN = Path(sys.executable).parent
_TOKEN = "0123456789abcdef" * 4
_SERVER_SECONDS = 120
_AGENT_SECONDS = 120


def operator_environment(folder: Path, **more: str) -> dict[str, str]:
    """A clean one: token authentication as a cluster would have it, whatever ~/.ray holds on this machine."""
    token = folder / "token"
    token.write_text(_TOKEN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    return kept | ray | {"PATH": f"{BIN}{os.pathsep}{kept['PATH']}"} | more


@contextlib.contextmanager
def ray_head(environment: Mapping[str, str], cpus: int) -> Iterator[tuple[str, str]]:
    """A head node that runs in the repository root; yields the addresses of its job server and of the cluster."""
    port, dashboard, client = free_ports(3)
    folder = Path(f"/tmp/ray_{os.getpid()}_{port}")  # short: Ray puts sockets below it, whose paths are limited
    ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    with _ray_start(environment, f"--num-cpus={cpus}", "--head", f"--temp-dir={folder}", *ports) as head:
        _wait_for_server(f"http://127.0.0.1:{dashboard}", head)
        yield f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"
    shutil.rmtree(folder, ignore_errors=True)  # kept when the test fails: the logs say why


@contextlib.contextmanager
def ray_worker_node(environment: Mapping[str, str], cluster: str, cpus: int) -> Iterator["subprocess.Popen[bytes]"]:
    """One more node of the cluster at this address; yields its `ray start`."""
    with _ray_start(environment, f"--num-cpus={cpus}", f"--address={cluster}") as node:
        yield node


def kill_node(node: "subprocess.Popen[bytes]") -> None:
    """kill -9 of all that a node runs, as if its machine were lost."""
    processes = psutil.Process(node.pid).children(recursive=True)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, 30)


def submit(address: str, environment: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit`, until the job ends; the agent that takes jobs may come up after the server that offers it."""
    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        done = subprocess.run(
            [str(BIN / "ray"), "job", "submit", f"--address={address}", *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if "No available agent to submit job" not in done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(1)


@contextlib.contextmanager
def _ray_start(environment: Mapping[str, str], *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    # An agent whose default port another Ray on the machine holds goes on without serving: no job is ever taken.
    (agent,) = free_ports(1)
    command = [str(BIN / "ray"), "start", "--block", f"--dashboard-agent-listen-port={agent}", *options]
    node = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield node
    finally:
        os.kill(node.pid, signal.SIGTERM)  # `ray start --block` ends the processes it started, and no others
        try:
            node.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()


def _wait_for_server(address: str, head: "subprocess.Popen[bytes]") -> None:
    request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {_TOKEN}"})
    deadline = time.monotonic() + _SERVER_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            assert head.poll() is None, "ray start ended"
            time.sleep(0.5)
    raise AssertionError("the job server does not answer")
