"""Bodies that the tests of this folder share."""

from tests.pipeline.body.standin import open_skel, standin_folder, standin_skel
from tests.pipeline.body.two_bodies import two_bodies

__all__ = ["open_skel", "standin_folder", "standin_skel", "two_bodies"]
