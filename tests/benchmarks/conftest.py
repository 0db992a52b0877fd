"""Bodies that the tests of this folder share."""

from tests.pipeline.body.standin import open_skel, open_smpl, standin_folder, standin_skel, standin_smpl

__all__ = ["open_skel", "open_smpl", "standin_folder", "standin_skel", "standin_smpl"]
