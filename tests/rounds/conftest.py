"""One local Ray for the tests of rounds: our own processes only, ended with the test session."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Two CPUs, no dashboard; whatever Ray else runs on the machine is left alone."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()
