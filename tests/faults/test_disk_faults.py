"""A disk that is full, or read-only, at any stage of a round: a clear end, nothing visible, and on it goes after."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.labels import PublishStep
from tests.faults.conftest import Uninterrupted
from tests.faults.driver import Driver, Halt
from tests.faults.invariants import check_equal, check_store
from tests.faults.small_disk import SmallDisk, small_disk
from tests.faults.small_round import PATIENCE, SmallRound, publish_copy
from tests.faults.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FAULTS = ["disk full", "disk read-only"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, megabytes=24) as disk:
        yield disk


@pytest.mark.parametrize("round", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_disk_fails_while_shards_are_staged(
    uninterrupted: Uninterrupted, disk: SmallDisk, tally: Tally, tmp_path: Path, fault: str, round: int
) -> None:
    with tally.run(f"{fault} while staging") as count:
        small = prepared(uninterrupted, disk, tmp_path, round)
        seen = check_store(small.store)
        driver = small.driver(round)
        small.wait_staged(round, 2, driver)
        fail(disk, fault)
        count.injected = 1
        end_clearly(driver, fault)
        check_store(small.store, seen)
        repair(disk, fault)
        count.rows = finish_and_check(small, uninterrupted, round)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [PublishStep.AUDITED, PublishStep.LINEAGE_WRITTEN, PublishStep.BRANCHED])
def test_the_disk_fails_during_publication(
    uninterrupted: Uninterrupted, disk: SmallDisk, tally: Tally, tmp_path: Path, fault: str, step: PublishStep
) -> None:
    with tally.run(f"{fault} during publication") as count:
        small = prepared(uninterrupted, disk, tmp_path, round=1)
        seen = check_store(small.store)
        driver = small.driver(1, Halt(step=step, pause=True))
        driver.wait_stopped(PATIENCE)
        fail(disk, fault)
        count.injected = 1
        driver.resume()
        end_clearly(driver, fault)
        check_store(small.store, seen)
        repair(disk, fault)
        count.rows = finish_and_check(small, uninterrupted, 1)


def test_a_disk_that_is_read_only_from_the_start(
    uninterrupted: Uninterrupted, disk: SmallDisk, tally: Tally, tmp_path: Path
) -> None:
    """Readers go on; writers are told before any work is done."""
    with tally.run("disk read-only from the start") as count:
        small = prepared(uninterrupted, disk, tmp_path, round=1)
        seen = check_store(small.store)
        disk.fail()
        count.injected = 1
        driver = small.driver(1)
        end_clearly(driver, "disk read-only")
        assert "shards, " not in driver.said, "no shard was computed"
        count.rows = sum(item.rows for item in check_store(small.store, seen).values())


def prepared(uninterrupted: Uninterrupted, disk: SmallDisk, folder: Path, round: int) -> SmallRound:
    small = replace(uninterrupted.small, folder=folder, root=str(disk.folder / "labels"))
    if round == 1:
        publish_copy(uninterrupted.small.store, 0, small.store)
    return small


def fail(disk: SmallDisk, fault: str) -> None:
    if fault == "disk full":
        disk.fill()
    else:
        disk.fail()


def repair(disk: SmallDisk, fault: str) -> None:
    if fault == "disk full":
        disk.empty()
    else:
        disk.repair()


def end_clearly(driver: Driver, fault: str) -> None:
    """Exit code 1, no traceback, the reason by name and the path to look at."""
    code = driver.wait(PATIENCE)
    assert code == 1, driver.said
    assert "Traceback" not in driver.said, driver.said
    last = driver.said.strip().splitlines()[-1]
    assert last.startswith("refine_round: "), driver.said
    reasons = ("No space left", "disk is full") if fault == "disk full" else ("Read-only", "readonly")
    assert any(reason in last for reason in reasons), driver.said
    assert "/disk/labels" in last, driver.said


def finish_and_check(small: SmallRound, uninterrupted: Uninterrupted, round: int) -> int:
    """Start the round again: it ends as without faults. Returns the rows checked."""
    small.run(round)
    seen = check_store(small.store)
    check_equal(small.store, uninterrupted.small.store, round)
    return sum(item.rows for item in seen.values()) + seen[round].rows
