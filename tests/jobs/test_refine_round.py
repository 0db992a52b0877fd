"""The command: what it prints, its exit codes, and that it survives its own death."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from jobs.refine_round import main
from pipeline.labels import LabelStore
from pipeline.rounds.driver import run_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.repository import ROOT

T = TypeVar("T")

COMMAND = [sys.executable, str(ROOT / "jobs" / "refine_round.py")]
QUIET = ("fit.device=cpu", "fit.batch_size=2", "run.actors=1")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE", "token"))  # or `prepare_ray` comes too late


def refine(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [*COMMAND, *arguments, *QUIET], capture_output=True, text=True, timeout=240, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--round", "0"], 2, "data.shards='DIR/{000000..000002}.tar'"),
        (["--round", "0", "storage.rot=x"], 2, "Did you mean storage.root"),
        (["--round", "0", "data.shards=/no/such/{0..2}.tar"], 2, "3 of 3 input shards not found"),
        (["--round", "0", "data.shards=x.tar", "predict.checkpoint=s3://b/c.ckpt"], 2, "predicts nothing"),
        (["--round", "0", "data.shards=x.tar", "body.source=/no/such"], 1, "body.source='/no/such' is not a folder"),
        (["--round", "1"], 1, "No labels are published under"),
        (["--round", "0", "storage.root=ftp://host/x"], 2, "storage.root='ftp://host/x' is not supported"),
    ],
)
def test_what_cannot_work_is_said_without_a_traceback(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments[:2], f"storage.root={tmp_path}", *arguments[2:], "fit.device=cpu"]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("arguments", [[], ["--round", "-1"], ["--round", "one"], ["--rounds", "1"]])
def test_wrong_options_end_with_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_address_of_a_job_server_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert main(["--round", "0", f"storage.root={tmp_path}"]) == 2
    assert "ray job submit -- python" in capsys.readouterr().err


def test_help_shows_examples_and_keys_lists_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "ray job submit -- python jobs/refine_round.py --round 1" in capsys.readouterr().out
    assert main(["--keys"]) == 0
    assert {"data.shards", "storage.root", "run.actors"} <= set(capsys.readouterr().out.split())


@pytest.mark.usefixtures("local_ray")
def test_a_killed_driver_leaves_nothing_published_and_resumes(tmp_path: Path) -> None:
    """kill -9 after the first staged shard: no generation, no actor left behind; the restart reuses the shard."""
    shards = write_shards(tmp_path / "made", make_samples(24), 6)
    arguments = ("--round", "0", f"data.shards={shards}", f"storage.root={tmp_path / 'labels'}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    driver = subprocess.Popen([*COMMAND, *arguments, *QUIET], env=environment, stderr=subprocess.DEVNULL)
    staged = wait_for(lambda: list((tmp_path / "labels").glob("data/*/*/*/*.json")), seconds=240)
    actors = {pid for pid in descendants(driver.pid) if command(pid).startswith("ray::ShardActor")}
    assert actors
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert 1 <= len(staged) < 6
    assert not LabelStore(str(tmp_path / "labels")).rounds()
    wait_for(lambda: not any(command(pid).startswith("ray::ShardActor") for pid in actors), seconds=60)

    again = refine(*arguments)
    assert again.returncode == 0, again.stderr
    assert "Round 0 is published" in again.stdout
    assert ", 0 reused" not in again.stdout
    assert "Traceback" not in again.stderr

    overrides = [f"data.shards={shards}", f"storage.root={tmp_path / 'whole'}", "run.progress=false", *QUIET]
    run_round(0, load_config(RoundConfig, overrides))
    resumed, whole = (LabelStore(str(tmp_path / name)) for name in ("labels", "whole"))
    assert resumed.read_all(0).equals(whole.read_all(0)), "bit for bit"
    assert resumed.generation(0).run_id == whole.generation(0).run_id


def wait_for(condition: Callable[[], T], seconds: float) -> T:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return result


def descendants(pid: int) -> set[int]:
    """The process's children, their children and so on."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parts[2]))
    found, waiting = set(), [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found |= set(below)
        waiting += below
    return found


def command(pid: int) -> str:
    """The name of a process, empty when it has ended (or only waits to be collected)."""
    try:
        name, _, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return ""
    return "" if state.split()[0] == "Z" else name
