"""One small demo set on the open body, made once for the tests of this folder."""

import pytest

from pipeline.body import Skel, load_skel
from pipeline.demo_set import DemoSet, make_demo_set

PEOPLE, SHARDS = 36, 4


@pytest.fixture(scope="session")
def skel() -> Skel:
    return load_skel("open")


@pytest.fixture(scope="session")
def demo_set(skel: Skel, tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    return make_demo_set(tmp_path_factory.mktemp("sets") / "demo", people=PEOPLE, shards=SHARDS, seed=3, skel=skel)
