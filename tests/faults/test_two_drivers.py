"""Two drivers of one round at once, on the same staging area: one result, and no trace of a fight."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.labels import PublishStep
from pipeline.labels.files.layout import lock_file
from tests.faults.conftest import Uninterrupted
from tests.faults.driver import Halt
from tests.faults.invariants import check_equal, check_store
from tests.faults.lanes import in_lanes
from tests.faults.small_round import PATIENCE, SmallRound
from tests.faults.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.fixture
def small(uninterrupted: Uninterrupted, tmp_path: Path) -> SmallRound:
    return replace(uninterrupted.small, folder=tmp_path, root=str(tmp_path / "labels"))


def test_both_started_at_the_same_time(
    small: SmallRound, uninterrupted: Uninterrupted, tally: Tally, seeds: int
) -> None:
    """One works and publishes; the other says whose round it is and changes nothing."""
    for seed in range(max(1, seeds // 10)):
        with tally.run("two drivers started together") as count:
            again = small.apart(f"{seed}")
            drivers = [again.driver(0), again.driver(0)]
            codes = sorted(driver.wait(PATIENCE) for driver in drivers)
            count.injected = 1
            assert codes == [0, 1], [driver.said for driver in drivers]
            loser = next(driver for driver in drivers if "is published under" not in driver.said)
            assert "Round 0 is being worked on by" in loser.said
            assert "Traceback" not in loser.said
            seen = check_store(again.store)
            check_equal(again.store, uninterrupted.small.store, 0)
            assert "already published" in again.run(0).said
            assert check_store(again.store, seen) == seen
            count.rows = 3 * seen[0].rows


def test_one_that_stood_still_wakes_up_after_its_round_was_taken_over(
    small: SmallRound, uninterrupted: Uninterrupted, tally: Tally
) -> None:
    """A driver stops (a paused machine), somebody removes its lock and runs the round; then it wakes."""
    halts = [
        Halt(audit=True, pause=True),
        Halt(step=PublishStep.AUDITED, pause=True),
        Halt(step=PublishStep.BRANCHED, pause=True),
        Halt(step=PublishStep.BRANCH_AUDITED, pause=True),
        Halt(commit=3, pause=True),
    ]

    def stand_still(halt: Halt) -> None:
        with tally.run("driver paused, taken over, woken") as count:
            again = small.apart(f"{halt}")
            sleeper = again.driver(0, halt)
            sleeper.wait_stopped(PATIENCE)
            refused = again.driver(0)
            assert refused.wait(PATIENCE) == 1, refused.said
            assert "is being worked on by" in refused.said, "on one machine a living process keeps its lock"
            again.store.storage.delete(lock_file(0))
            second = again.run(0)
            assert f"0 shards computed, {again.tars} reused" in second.said
            seen = check_store(again.store)
            sleeper.resume()
            code = sleeper.wait(PATIENCE)
            count.injected = 1
            assert "Traceback" not in sleeper.said, sleeper.said
            assert code in (0, 1), sleeper.said
            assert check_store(again.store, seen) == seen, "the late one changed nothing"
            check_equal(again.store, uninterrupted.small.store, 0)
            count.rows = 3 * seen[0].rows

    in_lanes(stand_still, halts)


def test_a_killed_driver_that_nobody_has_collected_does_not_hold_its_round(
    small: SmallRound, uninterrupted: Uninterrupted, tally: Tally
) -> None:
    """In a container without an init process the dead stay as zombies: its process number is still taken."""
    with tally.run("killed driver left as a zombie") as count:
        killed = small.command(0, os.environ | dict(small.environment))
        while len(small.staged(0)) < 2:
            time.sleep(0.02)
        os.kill(killed.pid, signal.SIGKILL)  # and not waited for
        count.injected = 1
        small.run(0)
        seen = check_store(small.store)
        check_equal(small.store, uninterrupted.small.store, 0)
        count.rows = 2 * seen[0].rows
        assert killed.wait() == -signal.SIGKILL
