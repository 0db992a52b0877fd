"""One Ray cluster and one uninterrupted result for all faults; the table of what was injected ends the run."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.runtime.ray_environment import prepare_ray

if "ray" not in sys.modules:
    prepare_ray(os.environ)

from ray.cluster_utils import Cluster

from tests.faults.local_cluster import local_cluster
from tests.faults.small_round import SmallRound, make_inputs
from tests.faults.tally import Tally

_TALLY = Tally()


@dataclass(frozen=True, slots=True, kw_only=True)
class Uninterrupted:
    """Rounds 0 and 1 without a fault: what every other run must equal. `seconds` is what one round took."""

    small: SmallRound
    seconds: float


@pytest.fixture(scope="session")
def tally() -> Tally:
    return _TALLY


@pytest.fixture(scope="session")
def seeds() -> int:
    """How many seeded runs: SEEDS, as in `make test-faults SEEDS=10`."""
    return int(os.environ.get("SEEDS", "50"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One node for the actors of two drivers at a time."""
    with local_cluster(4) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def uninterrupted(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    folder = tmp_path_factory.mktemp("uninterrupted")
    environment = {"RAY_ADDRESS": str(cluster.address)}
    small = SmallRound(folder=folder, inputs=make_inputs(folder), root=str(folder / "labels"), environment=environment)
    small.run(0)
    started = time.monotonic()
    small.run(1)
    return Uninterrupted(small=small, seconds=time.monotonic() - started)


@pytest.fixture(autouse=True)
def _no_driver_left() -> Iterator[None]:
    """A test that failed must not leave a driver, perhaps a stopped one, for pytest to wait for."""
    yield
    for child in multiprocessing.active_children():
        child.kill()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _TALLY.counts:
        terminalreporter.write_line(_TALLY.table())
