"""kill -9 of actors and drivers: whatever dies and whenever, the round is simply started again."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.faults.actors import Actors
from tests.faults.conftest import Uninterrupted
from tests.faults.deaths import Death, kinds
from tests.faults.invariants import check_equal, check_store
from tests.faults.lanes import in_lanes
from tests.faults.small_round import PATIENCE, SHARDS, SmallRound, publish_copy
from tests.faults.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

FileStamp = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What one seed does: a round, and a death for each start of its driver but the last."""

    seed: int
    round: int
    deaths: tuple[Death, ...]


def script(seed: int, seconds: float) -> Script:
    """The kinds take turns, so that so many seeds as there are kinds cover them all; what follows is random."""
    rng = random.Random(seed)
    round = seed % 2
    makers = kinds(round)
    chosen = [makers[seed // 2 % len(makers)]]
    while rng.random() < 0.3:
        chosen.append(rng.choice(makers))
    return Script(seed=seed, round=round, deaths=tuple(make(rng, seconds) for make in chosen))


def test_killed_anywhere_a_round_resumes_to_the_same_labels(
    seeds: int, cluster: Cluster, uninterrupted: Uninterrupted, tally: Tally, tmp_path: Path
) -> None:
    def run(plan: Script) -> None:
        die_and_resume(plan, tmp_path / f"{plan.seed}", cluster, uninterrupted.small, tally)

    in_lanes(run, [script(seed, uninterrupted.seconds) for seed in range(seeds)])


def die_and_resume(plan: Script, folder: Path, cluster: Cluster, whole: SmallRound, tally: Tally) -> None:
    """Start the driver once per death, then once more; after each the invariants hold, and the end is the same."""
    folder.mkdir()
    small = replace(whole, folder=folder, root=str(folder / "labels"))
    if plan.round == 1:
        publish_copy(whole.store, 0, small.store)
    seen = check_store(small.store)
    finished: dict[Path, FileStamp] = {}
    for death in plan.deaths:
        with tally.run(death.kind) as count:
            driver = small.driver(plan.round, death.halt)
            actors = Actors(cluster, driver.pid)
            count.injected = death.inflict(small, plan.round, driver, actors)
            code = driver.wait(PATIENCE)
            assert code in (0, -9), f"exit code {code} after {death}: {driver.said}"
            assert "Traceback" not in driver.said, driver.said
            actors.wait_until_gone()
            seen = check_store(small.store, seen)
            count.rows = sum(item.rows for item in seen.values())
        check_stamps(finished)
        finished = finished_files(small, plan.round)
        if plan.round in seen:
            break  # the driver has survived, or died after the commit
    with tally.run("started again, to the end") as count:
        driver = small.run(plan.round)
        seen = check_store(small.store, seen)
        check_equal(small.store, whole.store, plan.round)
        count.rows = sum(item.rows for item in seen.values()) + seen[plan.round].rows
    check_stamps(finished)
    check_reuse(driver.said, len(finished) // 2)


def finished_files(small: SmallRound, round: int) -> dict[Path, FileStamp]:
    """The label files that a sidecar vouches for: from now on they may be neither written again nor replaced."""
    sidecars = [Path(small.root, name) for name in small.staged(round)]
    return {path: stamp_of(path) for sidecar in sidecars for path in (sidecar, sidecar.with_suffix(".parquet"))}


def check_stamps(finished: dict[Path, FileStamp]) -> None:
    for path, stamp in finished.items():
        assert stamp_of(path) == stamp, f"{path} was finished and was written again"


def check_reuse(said: str, finished: int) -> None:
    """The last start computed what was missing, and nothing else."""
    assert f"{SHARDS - finished} shards computed, {finished} reused" in said or "already published" in said, said


def stamp_of(path: Path) -> FileStamp:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
