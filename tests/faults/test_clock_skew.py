"""Drivers on machines whose clocks are days apart: order, resume, locks and expire do not depend on who is right."""

import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from pipeline.labels.upkeep.expire import expire
from tests.faults.conftest import Uninterrupted
from tests.faults.driver import Halt
from tests.faults.invariants import check_equal, check_store
from tests.faults.lanes import in_lanes
from tests.faults.small_round import PATIENCE, SmallRound
from tests.faults.tally import Tally
from tests.pipeline.labels.label_tables import publish_rounds
from tests.repository import ROOT

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

DAY = 86_400
AHEAD, BEHIND = 10 * DAY, -10 * DAY
ICEBERG_TOLERANCE_MS = 60_000  # other readers (Java) refuse a snapshot log that goes back by more


@pytest.fixture(scope="session")
def shifting_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few lines of C, preloaded into a process, that move its wall clock."""
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.fixture
def small(uninterrupted: Uninterrupted, tmp_path: Path) -> SmallRound:
    return replace(uninterrupted.small, folder=tmp_path, root=str(tmp_path / "labels"))


def shifted(library: Path, seconds: int) -> dict[str, str]:
    """This process's environment, with the clock moved."""
    return os.environ | {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(seconds)}


def test_the_clock_is_moved(shifting_library: Path) -> None:
    code = "import time, datetime; print(int(time.time()), int(datetime.datetime.now().timestamp()))"
    environment = shifted(shifting_library, AHEAD)
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    for text in said.stdout.split():
        assert abs(int(text) - time.time() - AHEAD) < 60


def test_generations_follow_each_other_and_killed_rounds_resume(
    small: SmallRound, uninterrupted: Uninterrupted, shifting_library: Path, tally: Tally
) -> None:
    """Killed on a machine with one clock, resumed on a machine with another, three rounds in a row."""

    def take_turns(first: int) -> None:
        with tally.run("clocks 20 days apart") as count:
            again = small.apart(f"{first}")
            killed = again.command(0, shifted(shifting_library, first) | dict(again.environment))
            while killed.poll() is None and len(again.staged(0)) < 2:
                time.sleep(0.02)
            killed.kill()
            killed.communicate()
            assert len(again.staged(0)) >= 2
            seen = check_store(again.store)
            for round, shift in enumerate([-first, first, -first]):
                driver = again.command(round, shifted(shifting_library, shift) | dict(again.environment))
                said, _ = driver.communicate(timeout=PATIENCE)
                count.injected += 1
                assert driver.returncode == 0, said
                if round == 0:
                    assert "0 reused" not in said, said
                seen = check_store(again.store, seen)
                count.rows += sum(item.rows for item in seen.values())
            for round in (0, 1):
                check_equal(again.store, uninterrupted.small.store, round)
            assert list(seen) == [0, 1, 2]
            check_iceberg_times(again)

    in_lanes(take_turns, [AHEAD, BEHIND])


def test_expire_by_another_clock_spares_a_round_that_runs(
    small: SmallRound, uninterrupted: Uninterrupted, shifting_library: Path, tally: Tally
) -> None:
    """Expire deletes what is older than a week; a clock ten days ahead must not make fresh files that old."""
    with tally.run("expire by a clock 10 days ahead") as count:
        driver = small.driver(0, Halt(audit=True, pause=True))
        driver.wait_stopped(PATIENCE)
        files = small.run_files(0)
        code = (
            "import sys; from datetime import timedelta; from pipeline.labels import LabelStore;"
            "from pipeline.labels.upkeep.expire import expire;"
            "expire(LabelStore(sys.argv[1]), older_than=timedelta(days=7))"
        )
        environment = shifted(shifting_library, AHEAD)
        subprocess.run([sys.executable, "-c", code, small.root], env=environment, cwd=ROOT, check=True)
        count.injected = 1
        assert small.run_files(0) == files
        driver.resume()
        assert driver.wait(PATIENCE) == 0, driver.said
        expire(small.store, older_than=timedelta(days=7))
        seen = check_store(small.store)
        check_equal(small.store, uninterrupted.small.store, 0)
        count.rows = 2 * seen[0].rows


@pytest.mark.parametrize("command", [("rollback", "0"), ("forget", "1")], ids=lambda command: command[0])
@pytest.mark.parametrize("shift", [AHEAD, BEHIND], ids=["ahead", "behind"])
def test_what_a_skewed_machine_withdrew_expires_at_its_time(
    shifting_library: Path, tally: Tally, tmp_path: Path, shift: int, command: tuple[str, str]
) -> None:
    """Neither at once, which leaves no time to think better of it, nor ten days late."""
    with tally.run("withdrawal by a clock 10 days off") as count:
        root = str(tmp_path / "labels")
        store = LabelStore(root)
        publish_rounds(store, 2)
        before = check_store(store)
        arguments = [str(ROOT / "jobs" / "manage_labels.py"), *command, "--reason", "bad", f"storage.root={root}"]
        environment = shifted(shifting_library, shift)
        subprocess.run([sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, check=True)
        count.injected = 1
        assert expire(store, older_than=timedelta(days=7)).generations == ()
        assert len(store.withdrawn()) == 1
        time.sleep(2.1)  # withdrawals are dated to the second
        assert len(expire(store, older_than=timedelta(seconds=1)).generations) == 1
        count.rows = check_store(store, {0: before[0]})[0].rows


def check_iceberg_times(small: SmallRound) -> None:
    """The logs of the table never go back in time: other readers of Iceberg refuse a table where they do."""
    table = small.store.catalog.load()
    assert table is not None
    for log in (table.metadata.snapshot_log, table.metadata.metadata_log):
        times = [entry.timestamp_ms for entry in log]
        assert all(b - a >= -ICEBERG_TOLERANCE_MS for a, b in itertools.pairwise(times)), times
