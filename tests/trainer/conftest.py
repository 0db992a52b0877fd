"""Bodies that the tests of this folder share."""

from tests.pipeline.body.standin import open_skel, standin_folder, standin_skel

__all__ = ["open_skel", "standin_folder", "standin_skel"]
