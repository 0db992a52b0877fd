"""Machines that die: a cluster of several nodes on this machine loses one in the middle of a round."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.actors import Actors
from tests.faults.conftest import Uninterrupted
from tests.faults.invariants import check_equal, check_store
from tests.faults.local_cluster import local_cluster
from tests.faults.small_round import PATIENCE, publish_copy
from tests.faults.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def test_a_node_is_lost_and_the_round_goes_on(uninterrupted: Uninterrupted, tally: Tally, tmp_path: Path) -> None:
    """A head and two nodes for actors; the node of the first actor dies after the first shard, without a goodbye.

    For round 1 another machine has taken its place.
    """
    with local_cluster(0, 1, 1) as cluster:
        whole = replace(
            uninterrupted.small,
            folder=tmp_path,
            root=str(tmp_path / "labels"),
            environment={"RAY_ADDRESS": str(cluster.address)},
            overrides=("run.actors=2",),
        )
        for round in (0, 1):
            with tally.run("node lost") as count:
                small = whole.apart(f"{round}")
                if round == 1:
                    publish_copy(uninterrupted.small.store, 0, small.store)
                    cluster.add_node(num_cpus=1)
                driver = small.driver(round)
                actors = Actors(cluster, driver.pid)
                small.wait_staged(round, 1, driver)
                lost = actors.node()
                assert lost is not None, driver.said
                cluster.remove_node(lost, allow_graceful=False)
                count.injected = 1
                assert driver.wait(PATIENCE) == 0, driver.said
                seen = check_store(small.store)
                check_equal(small.store, uninterrupted.small.store, round)
                count.rows = sum(item.rows for item in seen.values()) + seen[round].rows
