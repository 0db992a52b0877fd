"""Bodies that the tests below share, and OpenSim where it is installed."""

from tests.pipeline.body.standin import open_skel, open_smpl, standin_folder, standin_skel, standin_smpl
from tests.pipeline.body.two_bodies import two_bodies
from tests.pipeline.export.opensim_package import opensim

__all__ = ["open_skel", "open_smpl", "opensim", "standin_folder", "standin_skel", "standin_smpl", "two_bodies"]
