"""objective=hsmr: the published refiner objective, against upstream's numbers for its own eight people."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import Skelify, SkelifyConfig, SkelifyResult, hsmr_objective
from pipeline.image.camera import project
from pipeline.image.keypoint_error import kp2d_error
from tests.pipeline.body.standin import Golden
from tests.pipeline.fit.test_skelify import People, mpjpe_mm

HSMR = SkelifyConfig(objective="hsmr")
ONE_START = SkelifyConfig(objective="hsmr", restart_above=torch.inf)


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir / "skelify.npz")


@pytest.fixture(scope="module")
def found(golden: Golden, standin_skel: Skel) -> SkelifyResult:
    start = (golden("init_q"), golden("init_betas"), golden("init_cam_t"))
    return Skelify(standin_skel, HSMR).fit(golden("kp2d"), *start)


def terms(skel: Skel, found: SkelifyResult, keypoints: Tensor) -> Tensor:
    return hsmr_objective(skel, found.q, found.betas, found.cam_t, keypoints)


@pytest.mark.parametrize("which", ["init", "upstream", "true"])
def test_terms_are_upstreams(golden: Golden, standin_skel: Skel, which: str) -> None:
    assert golden.arrays["term_names"].tolist() == ["reprojection", "shape_prior", "angle_prior", "weighted_sum"]
    q, betas, cam_t = (golden(f"{which}_{name}") for name in ("q", "betas", "cam_t"))
    got = hsmr_objective(standin_skel, q, betas, cam_t, golden("kp2d"))
    torch.testing.assert_close(got, golden(f"{which}_objective_terms"), rtol=1e-5, atol=1e-9)


def test_our_minimum_is_no_higher_than_upstreams(golden: Golden, standin_skel: Skel, found: SkelifyResult) -> None:
    ours, theirs = terms(standin_skel, found, golden("kp2d")), golden("upstream_objective_terms")
    for a, b, evaluations in zip(ours, theirs, found.iterations, strict=True):
        print(f"sum {a[3]:.5f} / {b[3]:.5f}  reprojection {a[0]:.5f} / {b[0]:.5f}  {evaluations} evaluations")
    assert (ours[:, 3] <= golden("upstream_objective") + 1e-3).all()
    assert (ours[:, 0] <= theirs[:, 0] + 1e-3).all()


def test_found_is_a_minimum_in_every_direction(golden: Golden, standin_skel: Skel, found: SkelifyResult) -> None:
    """The numeric gradient of the stated objective vanishes, and there are no bounds."""
    q, betas, cam_t = (x.clone().requires_grad_() for x in (found.q, found.betas, found.cam_t))
    hsmr_objective(standin_skel, q, betas, cam_t, golden("kp2d"))[:, 3].sum().backward()
    for x, tolerance in ((q, 5e-3), (betas, 5e-3), (cam_t, 1e-3)):
        assert x.grad is not None
        assert x.grad.abs().max() < tolerance


def test_the_torch_form_finds_the_same_minimum(open_skel: Skel) -> None:
    people, skelify = People(open_skel, 6, noise_px=2.0, dropped=0.2), Skelify(open_skel, ONE_START)
    compiled = people.fit(skelify)
    costs = terms(open_skel, compiled, people.keypoints)[:, 3]
    problem = skelify.problem(people.keypoints, people.start_q, people.start_betas, people.start_cam_t)

    in_torch = skelify._anneal_in_torch(problem.terms, problem.start, skelify._stages(skelify._kernel_scales()))
    torch.testing.assert_close(in_torch.cost, costs, rtol=1e-8, atol=1e-10)
    assert (in_torch.x[:, :46] - compiled.q).abs().max() < 1e-4


def test_robust_is_nearer_to_the_truth(open_skel: Skel) -> None:
    """The published objective crushes the shape and follows outliers; ours does not."""
    people = People(open_skel, 64, noise_px=1.5, dropped=0.15)
    generator = torch.Generator().manual_seed(1)
    outlier = torch.rand(64, 44, generator=generator) < 0.05
    people.keypoints[..., :2] += 0.15 * outlier[..., None] * torch.randn(64, 44, 2, generator=generator)
    published, ours = people.fit(Skelify(open_skel, HSMR)), people.fit(Skelify(open_skel))
    errors = [mpjpe_mm(open_skel.keypoints(f.q, f.betas), people.points).mean() for f in (published, ours)]
    assert errors[1] <= 0.85 * errors[0]
    assert published.betas.abs().mean() < 0.1 * people.betas.abs().mean()
    assert ours.betas.abs().mean() > 0.2 * people.betas.abs().mean()


def test_further_starts_never_end_higher(open_skel: Skel) -> None:
    people = People(open_skel, 48, noise_px=2.0, dropped=0.2)
    one, several = (people.fit(Skelify(open_skel, config)) for config in (ONE_START, HSMR))
    before, after = (terms(open_skel, found, people.keypoints)[:, 3] for found in (one, several))
    assert (after <= before + 1e-12).all()
    assert (after < before - 1e-3).any()
    once = several.iterations == one.iterations
    assert torch.equal(several.q[once], one.q[once])


def test_batch_does_not_matter(open_skel: Skel) -> None:
    """Neither for people who are started again nor for those who are not."""
    people, skelify = People(open_skel, 8, noise_px=2.0, dropped=0.2), Skelify(open_skel, HSMR)
    together = people.fit(skelify)
    for person in range(8):
        alone = people.fit(skelify, slice(person, person + 1))
        assert (together.q[person] - alone.q[0]).abs().max() < 1e-4


def test_a_bad_number_is_a_point_without_weight(open_skel: Skel) -> None:
    people, skelify = People(open_skel, 2, noise_px=2.0), Skelify(open_skel, HSMR)
    absent = people.keypoints.clone()
    absent[:, 10], people.keypoints[:, 10] = 0, torch.nan
    expected = skelify.fit(absent, people.start_q, people.start_betas, people.start_cam_t)
    assert (people.fit(skelify).q - expected.q).abs().max() < 1e-6


def test_without_a_start_and_reported_error(open_skel: Skel) -> None:
    people, skelify = People(open_skel, 4), Skelify(open_skel, HSMR)
    found = skelify.fit_from_mean_pose(people.keypoints)
    projected = project(open_skel.keypoints(found.q, found.betas), found.cam_t)
    torch.testing.assert_close(found.kp2d_error, kp2d_error(projected, people.keypoints))
    assert torch.isfinite(found.q_std).all()
