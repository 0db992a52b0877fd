"""Fixtures that all tests share: input folders, the S3 server, how hypothesis runs."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import shape_checks

shape_checks.install()  # before the first module of ours is imported

from pipeline.runtime.ray_environment import prepare_ray  # noqa: E402
from tests.repository import GOLDEN, SHARED  # noqa: E402
from tests.services.s3_server import S3Server, running_s3_server  # noqa: E402

# Before any test module imports Ray, which reads its environment only then.
if "ray" not in sys.modules:
    prepare_ray(os.environ)


# No deadline: the machine is shared, and the first call of a compiled function is slow. The same cases in every run.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of inputs, with the real photos and the broken shards."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED}/data is not there: this test reads its files")
    return SHARED


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The reference numbers: $GOLDEN_DIR, else tests/golden."""
    folder = Path(os.environ.get("GOLDEN_DIR") or GOLDEN)
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: set GOLDEN_DIR to a folder like tests/golden, or unset it")
    return folder


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; the AWS_* variables that reach it are in os.environ until the session ends."""
    with running_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Two CPUs, no dashboard; whatever Ray else runs on the machine is left alone."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()
