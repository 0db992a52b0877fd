"""A real S3 server behind a proxy that throttles, fails, resets, delays and cuts off; and the death of the server."""

import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from ray.cluster_utils import Cluster

from pipeline.labels import PublishStep
from tests.faults.actors import Actors
from tests.faults.conftest import Uninterrupted
from tests.faults.driver import Driver, Halt
from tests.faults.invariants import check_equal, check_store
from tests.faults.lanes import in_lanes
from tests.faults.local_cluster import local_cluster
from tests.faults.s3_proxy import S3Fault, S3Proxy, s3_proxy
from tests.faults.small_round import PATIENCE, SmallRound
from tests.faults.tally import Tally
from tests.faults.test_resume import DAMAGE, damage_and_resume
from tests.services.s3_server import S3Server
from tests.services.s3_service import aws_environment

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

PUBLISHING = (PublishStep.AUDITED, PublishStep.LINEAGE_WRITTEN, PublishStep.BRANCHED)
RATES = dict.fromkeys(S3Fault, 0.04)  # one request in four


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    with s3_proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def environment(s3_server: S3Server, proxy: S3Proxy) -> dict[str, str]:
    """What makes drivers and actors take the way through the proxy; the checks of the tests go past it."""
    return s3_server.env | {"AWS_ENDPOINT_URL": proxy.endpoint}


@pytest.fixture(scope="module")
def s3_cluster(environment: dict[str, str], s3_server: S3Server) -> Iterator[Cluster]:
    with aws_environment(environment):
        nodes = local_cluster(2)
        cluster = nodes.__enter__()
    try:
        yield cluster
    finally:
        nodes.__exit__(None, None, None)


@pytest.fixture
def small(
    s3_server: S3Server, s3_cluster: Cluster, environment: dict[str, str], uninterrupted: Uninterrupted, tmp_path: Path
) -> SmallRound:
    """Inputs and labels on S3; the catalog is a local file, as everywhere without a database server."""
    bucket = fsspec.filesystem("s3", use_listings_cache=False)
    made = s3_server.url("made")
    if not bucket.exists(made):
        bucket.put(f"{uninterrupted.small.inputs}/", f"{made}/", recursive=True)
    return SmallRound(
        folder=tmp_path,
        inputs=made,
        root=s3_server.url(f"labels/{tmp_path.name}"),
        catalog=f"sqlite:///{tmp_path}/catalog.db",
        environment={"RAY_ADDRESS": str(s3_cluster.address)} | environment,
    )


def test_errors_within_bounds_are_survived(
    small: SmallRound, uninterrupted: Uninterrupted, proxy: S3Proxy, tally: Tally, seeds: int
) -> None:
    """A quarter of all requests fails in one of six ways: both rounds are published, and equal to those without."""
    for seed in range(max(1, seeds // 10)):
        before, started = proxy.injected.copy(), time.monotonic()
        again = small.apart(f"{seed}")
        with proxy.failing(seed, RATES):
            again.run(0)
            again.run(1)
        seen = check_store(again.store)
        for round in (0, 1):
            check_equal(again.store, uninterrupted.small.store, round)
        rows = 2 * sum(item.rows for item in seen.values())
        for fault, count in (proxy.injected - before).items():
            tally.add(fault, injected=count)
        tally.add("S3: all of these, rounds 0 and 1", rows=rows, seconds=time.monotonic() - started)


def test_an_outage_ends_rounds_clearly_and_they_resume(
    small: SmallRound, uninterrupted: Uninterrupted, proxy: S3Proxy, s3_cluster: Cluster, tally: Tally
) -> None:
    """While one driver stages and three publish, nobody answers any more: giving up takes each a minute or two.

    Each ends with exit code 1, a message, and nothing visible; then it goes on.
    """
    with tally.run("S3: outage, a driver staging, three publishing") as count:
        rounds = [small.apart(name) for name in (*PUBLISHING, "staging")]
        publishing = [one.driver(0, Halt(step=step, pause=True)) for one, step in zip(rounds, PUBLISHING, strict=False)]
        for driver in publishing:
            driver.wait_stopped(PATIENCE)
        staging = rounds[-1].driver(0)
        rounds[-1].wait_staged(0, 2, staging)
        count.injected, proxy.down = len(rounds), True
        try:
            for driver in publishing:
                driver.resume()
            for driver, one in zip([*publishing, staging], rounds, strict=True):
                end_clearly(driver, one)
            Actors(s3_cluster, staging.pid).wait_until_gone()
        finally:
            proxy.down = False
        count.rows = sum(in_lanes(lambda one: finish_and_check(one, uninterrupted), rounds))


def test_the_server_is_killed_and_comes_back(
    small: SmallRound, uninterrupted: Uninterrupted, s3_server: S3Server, tally: Tally
) -> None:
    """kill -9 of SeaweedFS, back within seconds on the same data: requests wait for it, the round goes on."""
    with tally.run("S3: server killed, back after 3 s") as count:
        driver = small.driver(0)
        small.wait_staged(0, 2, driver)
        s3_server.kill()
        count.injected = 1
        time.sleep(3)
        s3_server.start()
        assert driver.wait(PATIENCE) == 0, driver.said
        count.rows = finish_and_check(small, uninterrupted)


def test_a_killed_driver_resumes_from_s3(
    small: SmallRound, uninterrupted: Uninterrupted, s3_cluster: Cluster, tally: Tally
) -> None:
    with tally.run("S3: driver killed between shards") as count:
        driver = small.driver(0)
        small.wait_staged(0, 3, driver)
        count.injected = int(driver.kill())
        Actors(s3_cluster, driver.pid).wait_until_gone()
        staged = len(small.staged(0))
        assert not small.store.rounds()
        count.rows = finish_and_check(small, uninterrupted, f"{small.tars - staged} shards computed, {staged} reused")


def test_damaged_shards_on_s3_are_computed_again(small: SmallRound, uninterrupted: Uninterrupted, tally: Tally) -> None:
    with tally.run("S3: staged shards damaged") as count:
        count.rows = damage_and_resume(small, uninterrupted)
        count.injected = len(DAMAGE)


def end_clearly(driver: Driver, small: SmallRound) -> None:
    """The driver gives up by itself and says which store it is about; readers see nothing."""
    assert driver.wait(PATIENCE) == 1, driver.said
    assert "Traceback" not in driver.said, driver.said
    assert "refine_round: " in driver.said
    assert small.root.split("//")[1] in driver.said, driver.said
    assert not check_store(small.store)


def finish_and_check(small: SmallRound, uninterrupted: Uninterrupted, expected: str = "") -> int:
    """Start round 0 again: it ends as without faults. Returns the rows checked."""
    driver = small.run(0)
    assert expected in driver.said, driver.said
    seen = check_store(small.store)
    check_equal(small.store, uninterrupted.small.store, 0)
    return 2 * sum(item.rows for item in seen.values())
