"""A shard that kills every actor that touches it ends on the quarantine list, and the round goes on without it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from pipeline.labels import read_labels
from tests.faults.actors import Actors
from tests.faults.conftest import Uninterrupted
from tests.faults.deaths import ActorReading
from tests.faults.invariants import check_store
from tests.faults.small_round import PATIENCE, SHARDS, publish_copy
from tests.faults.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

ATTEMPTS = 3  # run.attempts


def test_a_poisonous_shard_is_quarantined_and_tried_again_next_round(
    uninterrupted: Uninterrupted, cluster: Cluster, tally: Tally, tmp_path: Path, seeds: int
) -> None:
    whole = uninterrupted.small
    for seed in range(max(1, seeds // 10)):
        with tally.run("shard that kills every actor") as count:
            folder = tmp_path / f"{seed}"
            folder.mkdir()
            small = replace(whole, folder=folder, root=str(folder / "labels"))
            publish_copy(whole.store, 0, small.store)
            shard = random.Random(seed).randrange(SHARDS)
            poison = ActorReading(shard=shard, kills=ATTEMPTS + 1)
            driver = small.driver(1)
            count.injected = poison.inflict(small, 1, driver, Actors(cluster, driver.pid))
            assert driver.wait(PATIENCE) == 0, driver.said
            assert count.injected == ATTEMPTS, "given up after so many deaths, not before and not later"
            seen = check_store(small.store)
            lost = ("made", f"{shard:06d}")
            assert small.store.lineage(1).unreadable_shards == ("/".join(lost),)
            assert set(small.store.read(1, *lost)["decision"].to_pylist()) == {"kept_unreadable"}
            theirs = whole.store.files(1)
            for other, url in small.store.files(1).items():
                assert other == lost or read_labels(url).equals(read_labels(theirs[other]))
            small.run(2)
            seen = check_store(small.store, seen)
            assert "kept_unreadable" not in small.store.read(2, *lost)["decision"].to_pylist()
            count.rows = 2 * sum(item.rows for item in seen.values())
