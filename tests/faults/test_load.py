"""Many shards, some deaths: after every hundredth shard an actor is killed."""

from dataclasses import replace
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from pipeline.shards import write_shard
from tests.faults.actors import Actors
from tests.faults.conftest import Uninterrupted
from tests.faults.invariants import check_equal, check_store
from tests.faults.small_round import PATIENCE, SmallRound
from tests.faults.tally import Tally
from tests.pipeline.rounds.made_shards import make_samples

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

TARS = 500


@pytest.fixture(scope="module")
def many(uninterrupted: Uninterrupted, tmp_path_factory: pytest.TempPathFactory) -> SmallRound:
    """500 shards of one person; round 0 is published without a fault."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "made").mkdir()
    for i, sample in enumerate(make_samples(TARS)):
        write_shard(f"{folder}/made/{i:06d}.tar", [sample])
    small = replace(
        uninterrupted.small,
        folder=folder,
        inputs=str(folder / "made"),
        tars=TARS,
        root=str(folder / "labels"),
        overrides=("run.actors=2",),
    )
    small.run(0)
    return small


def test_one_shard_in_a_hundred_costs_an_actor(
    many: SmallRound, cluster: Cluster, tally: Tally, tmp_path: Path
) -> None:
    with tally.run(f"{TARS} shards, an actor killed every 100") as count:
        small = replace(many, folder=tmp_path, root=str(tmp_path / "labels"))
        driver = small.driver(0)
        actors = Actors(cluster, driver.pid)
        while driver.running and count.injected < TARS // 100:
            small.wait_staged(0, 50 + 100 * count.injected, driver)
            count.injected += actors.kill()
        assert driver.wait(PATIENCE) == 0, driver.said
        assert count.injected == TARS // 100
        seen = check_store(small.store)
        check_equal(small.store, many.store, 0)
        count.rows = 2 * sum(item.rows for item in seen.values())
