"""One local Ray for the tests of rounds: our own processes only, ended with the test session."""

import os
import sys
from collections.abc import Iterator

import pytest

from pipeline.rounds.ray_environment import prepare_ray

if "ray" not in sys.modules:
    prepare_ray(os.environ)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Two CPUs, no dashboard; whatever Ray else runs on the machine is left alone."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()
