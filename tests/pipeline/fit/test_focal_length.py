"""Fits of people whose focal length is known: the short ones of real photos, where perspective tells depth."""

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import Skelify, SkelifyConfig, SkelifyResult
from pipeline.fit.video.track import TrackFit
from pipeline.image.camera import FOCAL, project
from pipeline.image.crop import CROP_PX
from pipeline.labelling.acceptance import measure
from schemas.skel import N_BETAS, N_Q
from tests.pipeline.body.poses import shapes, upright_poses
from tests.pipeline.fit.test_skelify import inside_limits, mpjpe_mm
from tests.shape_checks import shapes_unchecked

FOCALS = (1.5, 4.0, 19.5)
PEOPLE = 16


class Photographed:
    """People who about fill the crop under a focal length in crop units, and a start some way off."""

    def __init__(self, skel: Skel, focal: float, noise_px: float = 0.0):
        generator = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.focal = torch.full((PEOPLE,), focal, dtype=torch.float64)
        self.q, self.betas = upright_poses(PEOPLE, 1), shapes(PEOPLE, 2)
        across = 0.2 * torch.rand(PEOPLE, 2, generator=generator, dtype=torch.float64) - 0.1
        depth = focal * (1.5 + 0.5 * torch.rand(PEOPLE, 1, generator=generator, dtype=torch.float64))
        self.cam_t = torch.cat([across, depth], 1)
        self.points = skel.keypoints(self.q, self.betas)
        places = project(self.points, self.cam_t, self.focal) + noise_px / CROP_PX * normal(PEOPLE, 44, 2)
        self.keypoints = torch.cat([places, torch.ones(PEOPLE, 44, 1, dtype=torch.float64)], -1)
        self.start = inside_limits(self.q + 0.15 * normal(PEOPLE, N_Q)), torch.zeros(PEOPLE, N_BETAS).double()
        self.start_cam_t = self.cam_t * (1 + 0.05 * normal(PEOPLE, 3))

    def fit(self, skelify: Skelify, focal: Tensor | None) -> SkelifyResult:
        return skelify.fit(self.keypoints, *self.start, self.start_cam_t, focal=focal)


@pytest.fixture(scope="module")
def skelify(open_skel: Skel) -> Skelify:
    return Skelify(open_skel)


@pytest.mark.parametrize("focal", FOCALS)
@pytest.mark.parametrize("objective", ["robust", "hsmr"])
def test_gradient_is_the_numeric_one(open_skel: Skel, focal: float, objective: str) -> None:
    """Of the compiled loop and of the torch form, which agree; with 3D keypoints where they count."""
    people = Photographed(open_skel, focal, noise_px=3.0)
    skelify = Skelify(open_skel, SkelifyConfig(objective="robust" if objective == "robust" else "hsmr"))
    points_3d = torch.cat([people.points + 0.02, torch.ones(PEOPLE, 44, 1).double()], -1)
    problem = skelify.problem(
        people.keypoints, *people.start, people.start_cam_t, keypoints_3d=points_3d, focal=people.focal
    )
    # away from the anchor, so that what holds to it pulls
    x = problem.start + 0.02 * torch.randn(59, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, scale = skelify.evaluate(x, problem.terms), skelify._kernel_scales()[-1]
    in_torch = skelify.linearise(x, problem.terms, scale)
    for name in ("cost", "gradient", "normal"):
        torch.testing.assert_close(getattr(ours, name), getattr(in_torch, name), rtol=1e-9, atol=1e-7)
    numeric = torch.empty_like(x)
    for column in range(x.shape[1]):
        step = torch.zeros_like(x)
        step[:, column] = 1e-6
        up, down = (
            skelify.evaluate(skelify.orientation.retract(x, sign * step), problem.terms).cost for sign in (1, -1)
        )
        numeric[:, column] = (up - down) / 4e-6  # half the cost's gradient
    torch.testing.assert_close(ours.gradient, numeric, rtol=1e-5, atol=1e-6 * float(ours.gradient.abs().max()))


@pytest.mark.parametrize("focal", [2.0, 4.0])
def test_people_are_found_under_their_own_lens(open_skel: Skel, focal: float) -> None:
    """At 3 to 4 m: exact keypoints are reproduced, and the pose and place are nearer than under the usual camera."""
    people = Photographed(open_skel, focal)
    skelify = Skelify(open_skel, SkelifyConfig(noise="uniform", keypoint_noise=0.004))
    found = people.fit(skelify, people.focal)
    assert (found.kp2d_error * CROP_PX).max() < 1.0
    before = mpjpe_mm(open_skel.keypoints(*people.start), people.points)
    after = mpjpe_mm(open_skel.keypoints(found.q, found.betas), people.points)
    assert after.mean() < 0.5 * before.mean()
    assert ((found.cam_t - people.cam_t).norm(dim=1) / people.cam_t[:, 2]).median() < 0.05
    far = people.start_cam_t * torch.tensor([1.0, 1.0, FOCAL / focal], dtype=torch.float64)
    usual = skelify.fit(people.keypoints, *people.start, far)
    assert after.mean() < 0.8 * mpjpe_mm(open_skel.keypoints(usual.q, usual.betas), people.points).mean()


def test_without_a_start(open_skel: Skel, skelify: Skelify) -> None:
    people = Photographed(open_skel, 2.0, noise_px=1.0)
    found = skelify.fit_from_mean_pose(people.keypoints, focal=people.focal)
    assert (found.kp2d_error * CROP_PX).median() < 2.5
    assert (found.cam_t[:, 2] / people.cam_t[:, 2]).log().abs().median() < 0.1
    projected = project(open_skel.keypoints(found.q, found.betas), found.cam_t, people.focal)
    away = (projected - people.keypoints[..., :2]).norm(dim=-1).mean(1)
    torch.testing.assert_close(away, found.kp2d_error, rtol=0.05, atol=1e-4)  # the error leaves two points out


def test_the_usual_one_is_the_default_bit_for_bit(open_skel: Skel, skelify: Skelify) -> None:
    people = Photographed(open_skel, FOCAL, noise_px=2.0)
    for told, silent in (
        (people.fit(skelify, people.focal), people.fit(skelify, None)),
        (
            skelify.fit_from_mean_pose(people.keypoints[:4], focal=people.focal[:4]),
            skelify.fit_from_mean_pose(people.keypoints[:4]),
        ),
    ):
        assert all(torch.equal(a, b) for a, b in zip(told, silent, strict=True))


def test_a_batch_may_mix_them(open_skel: Skel, skelify: Skelify) -> None:
    groups = [Photographed(open_skel, focal, noise_px=2.0) for focal in FOCALS]
    parts = [(g.keypoints, *g.start, g.start_cam_t) for g in groups]
    keypoints, q, betas, cam_t = (torch.cat(values) for values in zip(*parts, strict=True))
    together = skelify.fit(keypoints, q, betas, cam_t, focal=torch.cat([g.focal for g in groups]))
    alone = [group.fit(skelify, group.focal) for group in groups]
    assert (together.q - torch.cat([found.q for found in alone])).abs().max() < 1e-6


def test_the_torch_form_finds_the_same_minimum(open_skel: Skel, skelify: Skelify) -> None:
    people = Photographed(open_skel, 2.0, noise_px=2.0)
    problem = skelify.problem(people.keypoints, *people.start, people.start_cam_t, focal=people.focal)
    found = skelify._anneal_in_torch(problem.terms, problem.start, skelify._stages(skelify._kernel_scales()))
    assert (found.x[:, :N_Q] - people.fit(skelify, people.focal).q).abs().max() < 1e-6


def test_tracks_and_the_measure_know_them(open_skel: Skel, skelify: Skelify) -> None:
    """A still person in front of one camera: the track's fit keeps the errors, and acceptance sees the same ones."""
    people = Photographed(open_skel, 2.0)
    still = people.keypoints[:1].expand(6, -1, -1)
    q, betas, cam_t = (x[:1].expand(6, -1) for x in (*people.start, people.start_cam_t))
    first = skelify.fit(still, q, betas, cam_t, focal=people.focal[:6])
    track = TrackFit(skelify).fit(still, torch.arange(6) / 30, first, focal=people.focal[:6])
    assert (track.kp2d_error * CROP_PX).max() < 1.5
    measured = measure(open_skel, track.q, track.betas, still, focal=people.focal[:6])
    assert (measured.kp2d_error <= track.kp2d_error + 1e-4).all()
    assert ((measured.cam_t - track.cam_t).norm(dim=1) < 0.05 * track.cam_t[:, 2]).all()
    assert (measure(open_skel, track.q, track.betas, still).kp2d_error > 1.5 * measured.kp2d_error).all()


def test_one_for_each_person_is_expected(open_skel: Skel, skelify: Skelify) -> None:
    people = Photographed(open_skel, 2.0)
    with shapes_unchecked(), pytest.raises(ValueError, match="focal must have shapes"):
        people.fit(skelify, people.focal[:3])
