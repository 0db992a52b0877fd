"""OpenSim, as the fixture of several folders of tests."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def opensim() -> Any:
    """The package, without the log file that it would leave in the working folder."""
    package = pytest.importorskip("opensim")
    package.Logger.removeFileSink()
    return package
