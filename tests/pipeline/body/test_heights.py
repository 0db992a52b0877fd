"""How tall a body is."""

import torch

from pipeline.body import Skel
from tests.pipeline.body.poses import shapes


def test_the_height_is_that_of_the_posed_mesh_in_the_t_pose(open_skel: Skel) -> None:
    betas = shapes(6, 3)
    body = open_skel(torch.zeros(6, 46, dtype=betas.dtype), betas).skin_vertices[..., 1]
    torch.testing.assert_close(open_skel.heights(betas), body.amax(1) - body.amin(1), atol=1e-6, rtol=0)
    assert 1.5 < float(open_skel.heights(torch.zeros(1, 10, dtype=betas.dtype))) < 2.0
