"""SKELify with 3D keypoints beside the 2D ones."""

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import Skelify, SkelifyConfig, SkelifyResult
from pipeline.numerics.levenberg_marquardt import Linearised, LmConfig, minimise
from tests.pipeline.fit.test_skelify import PEOPLE, People, mpjpe_mm

PELVIS = 39


@pytest.fixture(scope="module")
def skelify(open_skel: Skel) -> Skelify:
    return Skelify(open_skel)


@pytest.fixture(scope="module")
def people(open_skel: Skel) -> People:
    return People(open_skel, noise_px=2.0, dropped=0.2)


@pytest.fixture(scope="module")
def points_3d(people: People) -> Tensor:
    """Truth relative to mid hip with 2 cm of noise across and 5 cm along the view."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(PEOPLE, 44, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.02, 0.02, 0.05])
    places = people.points - people.points[:, 8:9] + noise
    return torch.cat([places, torch.ones_like(places[..., :1])], -1)


def fit(skelify: Skelify, people: People, points_3d: Tensor | None) -> SkelifyResult:
    start = (people.start_q, people.start_betas, people.start_cam_t)
    return skelify.fit(people.keypoints, *start, keypoints_3d=points_3d)


def error_mm(skelify: Skelify, people: People, found: SkelifyResult) -> Tensor:
    return mpjpe_mm(skelify.model.keypoints(found.q, found.betas), people.points)


@pytest.mark.parametrize(("opinion_kernel", "share"), [(1e9, 0.75), (3.0, 0.8)])
def test_depth_becomes_known(
    open_skel: Skel, people: People, points_3d: Tensor, opinion_kernel: float, share: float
) -> None:
    """A heavy-tailed hold leaves 3D points less to mend: without them it is nearer to the truth to begin with."""
    skelify = Skelify(open_skel, SkelifyConfig(opinion_kernel=opinion_kernel))
    without, found = fit(skelify, people, None), fit(skelify, people, points_3d)
    assert error_mm(skelify, people, found).mean() < share * error_mm(skelify, people, without).mean()
    assert found.q_std.mean() < without.q_std.mean()


def test_outliers_in_3d_are_not_followed(skelify: Skelify, people: People, points_3d: Tensor) -> None:
    wrong = points_3d.clone()
    wrong[:, [4, 11, 20], :3] += torch.tensor([0.0, 1.0, -1.0])
    clean, found = fit(skelify, people, points_3d), fit(skelify, people, wrong)
    assert error_mm(skelify, people, found).mean() < 1.15 * error_mm(skelify, people, clean).mean()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_no_pelvis_or_no_confidence_is_as_without(
    skelify: Skelify, people: People, points_3d: Tensor, value: float
) -> None:
    without, with_points = fit(skelify, people, None), fit(skelify, people, points_3d)
    some = points_3d.clone()
    some[0, PELVIS], some[1, :, 3], some[2] = value, 0, value
    found = fit(skelify, people, some)
    assert (found.q[:3] - without.q[:3]).abs().max() < 1e-9
    assert (found.q[3:] - with_points.q[3:]).abs().max() < 1e-9


def test_the_torch_form_finds_the_same_minimum(skelify: Skelify, people: People, points_3d: Tensor) -> None:
    compiled = fit(skelify, people, points_3d)
    start = (people.start_q, people.start_betas, people.start_cam_t)
    problem = skelify.problem(people.keypoints, *start, keypoints_3d=points_3d)

    def evaluate(x: Tensor, rows: Tensor) -> Linearised:
        return skelify.linearise(x, problem.terms.of(rows), skelify.config.kernel_scale)

    found = skelify._anneal_in_torch(problem.terms, problem.start, skelify._stages(skelify._kernel_scales()))
    assert (found.x[:, :46] - compiled.q).abs().max() < 1e-6
    assert torch.equal(found.iterations, compiled.iterations)
    further = minimise(evaluate, skelify.orientation.retract, found.x, LmConfig(max_iterations=30), skelify.bounds)
    assert (found.cost - further.cost).max() < 1e-2


def test_people_without_a_start(skelify: Skelify, people: People, points_3d: Tensor) -> None:
    without = skelify.fit_from_mean_pose(people.keypoints)
    found = skelify.fit_from_mean_pose(people.keypoints, points_3d)
    assert error_mm(skelify, people, found).median() < 0.6 * error_mm(skelify, people, without).median()
    part = skelify.fit_from_mean_pose(people.keypoints[4:6], points_3d[4:6])
    assert (part.q - found.q[4:6]).abs().max() < 1e-4
