"""The fits on a GPU, which run as batched tensor operations, agree with the compiled loop of the CPU."""

import pytest
import torch

from pipeline.body import Skel, Smpl
from pipeline.fit import Skelify, SmplToSkel
from tests.pipeline.fit.test_skelify import People, inside_limits
from tests.pipeline.fit.test_smpl_to_skel import smpl_poses

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_keypoints_and_jacobian(open_skel: Skel) -> None:
    people = People(open_skel)
    here, there = (s.keypoints_and_jacobian(people.q, people.betas) for s in (open_skel, open_skel.to("cuda")))
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-10)


def test_skelify(open_skel: Skel) -> None:
    people = People(open_skel, noise_px=2.0, dropped=0.2)
    here, there = people.fit(Skelify(open_skel)), people.fit(Skelify(open_skel.to("cuda")))
    assert (here.q - there.q.cpu()).abs().max() < 1e-4
    assert ((here.cam_t - there.cam_t.cpu()).abs() / here.cam_t[:, 2:]).max() < 1e-4
    assert torch.equal(inside_limits(there.q.cpu()), there.q.cpu())


def test_a_point_at_infinity_does_not_matter(open_skel: Skel) -> None:
    people, skelify = People(open_skel, noise_px=2.0, dropped=0.2), Skelify(open_skel.to("cuda"))
    odd, absent = people.keypoints.clone(), people.keypoints.clone()
    odd[:, 22], absent[:, 22] = torch.inf, 0
    start = (people.start_q, people.start_betas, people.start_cam_t)
    assert (skelify.fit(odd, *start).q - skelify.fit(absent, *start).q).abs().max() < 1e-4


def test_smpl_to_skel(open_skel: Skel, open_smpl: Smpl) -> None:
    pose, betas = smpl_poses(16, 1), torch.zeros(16, 10)
    here = SmplToSkel(open_smpl, open_skel).fit(pose, betas)
    there = SmplToSkel(open_smpl, open_skel.to("cuda")).fit(pose, betas)
    assert (here.q - there.q.cpu()).abs().max() < 1e-3
    assert (here.pve_mean_mm - there.pve_mean_mm.cpu()).abs().max() < 0.01
