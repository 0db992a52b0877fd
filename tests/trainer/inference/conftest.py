"""Bodies that the tests of this folder share, and OpenSim where it is installed."""

from typing import Any

import pytest

from tests.pipeline.body.standin import open_skel, standin_folder, standin_skel

__all__ = ["open_skel", "opensim", "standin_folder", "standin_skel"]


@pytest.fixture(scope="session")
def opensim() -> Any:
    """The package, without the log file that it would leave in the working folder."""
    package = pytest.importorskip("opensim")
    package.Logger.removeFileSink()
    return package
