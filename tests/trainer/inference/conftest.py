"""Bodies that the tests of this folder share, and OpenSim where it is installed."""

from tests.pipeline.body.standin import open_skel, standin_folder, standin_skel
from tests.pipeline.body.two_bodies import two_bodies
from tests.pipeline.export.opensim_package import opensim

__all__ = ["open_skel", "opensim", "standin_folder", "standin_skel", "two_bodies"]
