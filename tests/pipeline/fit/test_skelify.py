"""SKELify on keypoints that the model itself made, on upstream's cases, and on inputs that are hardly a person."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.fit import Anchor, Skelify, SkelifyConfig, SkelifyResult
from pipeline.fit.starts.mean_pose import mean_q
from pipeline.fit.starts.start_poses import start_poses
from pipeline.image.camera import project
from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_error import kp2d_error, usable_confidence
from pipeline.image.keypoint_noise import keypoint_noise
from schemas.keypoints import SCORED, TWINS
from schemas.skel import N_UNLIMITED
from tests.pipeline.body.poses import limits, poses_within_limits, shapes, upright_poses
from tests.pipeline.body.standin import Golden
from tests.shape_checks import shapes_unchecked

PEOPLE = 24
SAME_Q, SAME_JOINT, SAME_CAMERA = 1e-4, 1e-4, 1e-4  # rad, m, relative


def inside_limits(q: Tensor) -> Tensor:
    low, high = limits(q.dtype)
    return torch.cat([q[:, :N_UNLIMITED], q.clamp(low, high)[:, N_UNLIMITED:]], 1)


def cameras(count: int, seed: int) -> Tensor:
    uniform = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([uniform[:, 0] - 0.5, uniform[:, 1] - 0.5, 35 + 30 * uniform[:, 2]], 1)


class People:
    """Known truth, the keypoints a detector would give, and a start some way off."""

    def __init__(self, skel: Skel, count: int = PEOPLE, noise_px: float = 0.0, dropped: float = 0.0, off: float = 0.15):
        generator = torch.Generator().manual_seed(11)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.q, self.betas, self.cam_t = upright_poses(count, 1), shapes(count, 2), cameras(count, 3)
        self.points = skel.keypoints(self.q, self.betas)
        xy = project(self.points, self.cam_t) + noise_px / CROP_PX * normal(count, 44, 2)
        visible = torch.rand(count, 44, 1, generator=generator, dtype=torch.float64) >= dropped
        self.keypoints = torch.cat([xy * visible, visible.double()], -1)
        self.start_q = inside_limits(self.q + off * normal(count, 46))
        self.start_betas = torch.zeros_like(self.betas)
        self.start_cam_t = self.cam_t * (1 + 0.05 * normal(count, 3))

    def fit(self, skelify: Skelify, rows: Tensor | slice = slice(None)) -> SkelifyResult:
        return skelify.fit(self.keypoints[rows], self.start_q[rows], self.start_betas[rows], self.start_cam_t[rows])


def mpjpe_mm(points: Tensor, truth: Tensor) -> Tensor:
    difference = (points - points[:, 39:40]) - (truth - truth[:, 39:40])
    return difference.norm(dim=-1).mean(1) * 1000


def assert_same(got: SkelifyResult, expected: SkelifyResult, skel: Skel) -> None:
    assert (got.q - expected.q).abs().max() < SAME_Q
    assert (got.betas - expected.betas).abs().max() < 1e-3
    joints = skel.joints(got.q, got.betas) - skel.joints(expected.q, expected.betas)
    assert joints.abs().max() < SAME_JOINT
    assert ((got.cam_t - expected.cam_t).abs() / expected.cam_t[:, 2:]).max() < SAME_CAMERA


def rows_of(result: SkelifyResult, rows: Tensor) -> SkelifyResult:
    return SkelifyResult(*(x[rows] for x in result))


@pytest.fixture(scope="module")
def skelify(open_skel: Skel) -> Skelify:
    return Skelify(open_skel)


@pytest.fixture(scope="module")
def exact(open_skel: Skel) -> People:
    return People(open_skel)


@pytest.fixture(scope="module")
def realistic(open_skel: Skel) -> People:
    """2 px of noise and a fifth of the points missing."""
    return People(open_skel, noise_px=2.0, dropped=0.2)


def test_exact_keypoints_are_reproduced(open_skel: Skel, exact: People) -> None:
    """What is left is the pull of the priors; the noise is said to be half of what real keypoints have."""
    found = exact.fit(Skelify(open_skel, SkelifyConfig(noise="uniform", keypoint_noise=0.005)))
    error_px = found.kp2d_error * CROP_PX
    assert error_px.mean() < 0.5
    assert error_px.max() < 1.0
    before = mpjpe_mm(open_skel.keypoints(exact.start_q, exact.start_betas), exact.points)
    after = mpjpe_mm(open_skel.keypoints(found.q, found.betas), exact.points)
    assert after.mean() < 0.5 * before.mean()
    assert (after < before).double().mean() > 0.9


def test_a_tight_noise_reaches_the_keypoints_exactly(open_skel: Skel, exact: People) -> None:
    """With keypoints that are said to be exact, the priors do not hold the fit back."""
    found = exact.fit(Skelify(open_skel, SkelifyConfig(noise="uniform", keypoint_noise=1e-4, max_iterations=100)))
    assert (found.kp2d_error * CROP_PX).median() < 0.02


def test_noisy_keypoints_improve_the_pose(open_skel: Skel, skelify: Skelify, realistic: People) -> None:
    found = realistic.fit(skelify)
    start_error = kp2d_error(
        project(open_skel.keypoints(realistic.start_q, realistic.start_betas), realistic.start_cam_t),
        realistic.keypoints,
    )
    assert (found.kp2d_error < start_error).all()
    before = mpjpe_mm(open_skel.keypoints(realistic.start_q, realistic.start_betas), realistic.points)
    after = mpjpe_mm(open_skel.keypoints(found.q, found.betas), realistic.points)
    assert after.mean() < 0.6 * before.mean()


def test_reported_error_is_that_of_the_result(open_skel: Skel, skelify: Skelify, realistic: People) -> None:
    found = realistic.fit(skelify)
    projected = project(open_skel.keypoints(found.q, found.betas), found.cam_t)
    torch.testing.assert_close(found.kp2d_error, kp2d_error(projected, realistic.keypoints), rtol=0, atol=1e-12)
    assert (found.iterations >= 1).all()
    assert torch.equal(found.anchor_q, realistic.start_q)
    assert torch.equal(found.anchor_betas, realistic.start_betas)


def documented_cost(skel: Skel, config: SkelifyConfig, people: People, x: Tensor, start_z: Tensor) -> Tensor:
    """The objective in the docstring of robust_objective, written down a second time; x = q, betas, cam_t."""
    q, betas, cam_t = x[:, :46], x[:, 46:56], x[:, 56:]
    away = project(skel.keypoints(q, betas), cam_t) - people.keypoints[..., :2]
    squared, scale = away.square().sum(-1), config.kernel_scale**2
    own = keypoint_noise().std
    noise = 1.8 * own**0.25 * own.square().mean() ** 0.375
    weight = usable_confidence(people.keypoints) / noise**2
    data = (weight * scale * squared / (scale + squared)).sum(1)
    low, high = limits()
    std = config.anchor_std * ((high - low) / 1.5).clamp_max(1)
    pose = _geman_mcclure(((q - people.start_q) / std)[:, N_UNLIMITED:].square(), config).sum(1)
    now, then = (skel.bone_motion(angles, torch.zeros_like(betas))[2].rotations[:, 0] for angles in (q, people.start_q))
    turn = _geman_mcclure((matrix_to_axis_angle(now @ then.mT) / config.orientation_std).square().sum(1), config)
    depth = (torch.log(cam_t[:, 2] / start_z) / config.depth_std).square()
    return data + pose + turn + (betas / config.betas_std).square().sum(1) + depth


def _geman_mcclure(squared: Tensor, config: SkelifyConfig) -> Tensor:
    return squared / (1 + squared / config.opinion_kernel**2)


def test_result_is_a_minimum_of_the_documented_cost(open_skel: Skel, skelify: Skelify, realistic: People) -> None:
    """Its numeric gradient vanishes in free directions and pushes outwards at the limits."""
    found = realistic.fit(skelify)
    x = torch.cat([found.q, found.betas, found.cam_t], 1)
    low, high = limits()
    slopes, curvatures = [], []
    for column in range(x.shape[1]):
        step = torch.zeros_like(x)
        step[:, column] = 1e-4 * (x[:, 58] if column == 58 else 1)
        up, here, down = (
            documented_cost(open_skel, skelify.config, realistic, x + sign * step, realistic.start_cam_t[:, 2])
            for sign in (1, 0, -1)
        )
        width = step[:, column]
        slopes.append((up - down) / (2 * width))
        curvatures.append(((up + down - 2 * here) / width**2).abs().clamp_min(1))
    slope, curvature = torch.stack(slopes, 1), torch.stack(curvatures, 1)
    at_low, at_high = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    at_low[:, N_UNLIMITED:46], at_high[:, N_UNLIMITED:46] = (found.q <= low)[:, 3:], (found.q >= high)[:, 3:]
    assert (slope[at_low] >= 0).all()
    assert (slope[at_high] <= 0).all()
    gain = torch.where(at_low | at_high, torch.zeros_like(slope), slope.square() / (2 * curvature))
    cost = documented_cost(open_skel, skelify.config, realistic, x, realistic.start_cam_t[:, 2])
    assert (gain.amax(1) < 1e-4 * cost).all(), "one coordinate alone could lower the cost"


def test_float32_agrees_with_float64(open_skel: Skel, skelify: Skelify, realistic: People) -> None:
    double, single = realistic.fit(skelify), realistic.fit(Skelify(open_skel.to("cpu", torch.float32)))
    assert single.q.dtype == torch.float32
    assert (single.kp2d_error - double.kp2d_error).abs().max() * CROP_PX < 0.05
    assert (single.q - double.q).abs().median() < 1e-4
    assert ((single.q - double.q).abs() < 1e-2).double().mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_results_do_not_depend_on_batch_or_order(open_skel: Skel, realistic: People, dtype: torch.dtype) -> None:
    skel = open_skel.to("cpu", dtype)
    skelify = Skelify(skel)
    together = realistic.fit(skelify)
    order = torch.randperm(PEOPLE, generator=torch.Generator().manual_seed(1))
    assert_same(realistic.fit(skelify, order), rows_of(together, order), skel)
    for person in range(4):
        alone = realistic.fit(skelify, slice(person, person + 1))
        assert_same(alone, rows_of(together, torch.tensor([person])), skel)
    first, second = (realistic.fit(skelify, part) for part in (slice(0, 7), slice(7, PEOPLE)))
    split = SkelifyResult(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    assert_same(split, together, skel)


def test_people_without_a_start_do_not_depend_on_the_batch(open_skel: Skel, realistic: People) -> None:
    skel = open_skel.to("cpu", torch.float32)
    skelify, keypoints = Skelify(skel), realistic.keypoints[:6]
    together = skelify.fit_from_mean_pose(keypoints)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert_same(skelify.fit_from_mean_pose(keypoints[order]), rows_of(together, order), skel)
    assert_same(skelify.fit_from_mean_pose(keypoints[2:3]), rows_of(together, torch.tensor([2])), skel)


def test_people_without_a_start_are_found_from_any_side(open_skel: Skel, skelify: Skelify, exact: People) -> None:
    found = skelify.fit_from_mean_pose(exact.keypoints)
    assert (found.kp2d_error * CROP_PX).median() < 2
    start = mean_q()[None].expand(PEOPLE, -1)
    before = mpjpe_mm(open_skel.keypoints(start, exact.start_betas), exact.points)
    assert mpjpe_mm(open_skel.keypoints(found.q, found.betas), exact.points).mean() < 0.5 * before.mean()
    low, high = limits()
    starts = start_poses("spread")[:, N_UNLIMITED:]
    assert torch.cdist(found.anchor_q[:, N_UNLIMITED:], starts).amin(1).max() == 0
    assert ((found.q >= low) & (found.q <= high))[:, N_UNLIMITED:].all()


@given(st.integers(0, 2**31))
@settings(max_examples=6)
def test_limits_hold_whatever_the_keypoints(skelify: Skelify, seed: int) -> None:
    """Keypoints that no person has, from a start outside the limits."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(6, 44, 3, generator=generator, dtype=torch.float64)
    keypoints[..., 2] = torch.rand(6, 44, generator=generator)
    start = poses_within_limits(6, seed, share=1.5)
    found = skelify.fit(keypoints, start, shapes(6, seed, size=5), cameras(6, seed))
    low, high = limits()
    assert ((found.q >= low) & (found.q <= high))[:, N_UNLIMITED:].all()
    assert found.betas.abs().max() <= 3
    assert all(torch.isfinite(x).all() for x in found)
    assert (found.cam_t[:, 2] > 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_bad_numbers_stay_with_their_person(open_skel: Skel, skelify: Skelify, realistic: People, value: float) -> None:
    clean = realistic.fit(skelify, slice(0, 6))
    keypoints, q, cam_t = (x[:6].clone() for x in (realistic.keypoints, realistic.start_q, realistic.start_cam_t))
    q[1, 20], cam_t[2, 2], keypoints[3] = value, value, value
    found = skelify.fit(keypoints, q, realistic.start_betas[:6], cam_t)
    untouched = torch.tensor([0, 4, 5])
    assert_same(rows_of(found, untouched), rows_of(clean, untouched), open_skel)
    if value != value:
        assert not torch.isfinite(found.q[1]).all()
    assert torch.isnan(found.kp2d_error[3])
    assert torch.isfinite(found.q[3]).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_a_point_that_is_not_there_does_not_matter(
    skelify: Skelify, realistic: People, open_skel: Skel, value: float
) -> None:
    """Whatever number an absent point carries, the fit is the one without it."""
    absent, odd = (realistic.keypoints[:4].clone() for _ in range(2))
    absent[:, 10] = 0
    odd[:, 10] = torch.tensor([value, 0.0, 1.0 if value != 1e30 else 0.0], dtype=torch.float64)
    start = (realistic.start_q[:4], realistic.start_betas[:4], realistic.start_cam_t[:4])
    assert_same(skelify.fit(odd, *start), skelify.fit(absent, *start), open_skel)


def test_an_infinite_point_does_not_matter_without_a_start(open_skel: Skel, realistic: People) -> None:
    skelify = Skelify(open_skel.to("cpu", torch.float32))
    absent, odd = (realistic.keypoints[:4].clone() for _ in range(2))
    absent[:, 22], odd[:, 22] = 0, torch.inf
    assert_same(skelify.fit_from_mean_pose(odd), skelify.fit_from_mean_pose(absent), skelify.model)


def test_copies_of_keypoints_change_nothing(skelify: Skelify, realistic: People, open_skel: Skel) -> None:
    """The second layout filled from the first, as data sets do, says what the first alone says."""
    alone, copied = realistic.keypoints[:8].clone(), realistic.keypoints[:8].clone()
    alone[:, list(TWINS)] = 0
    copied[:, list(TWINS)] = copied[:, list(TWINS.values())]
    start = (realistic.start_q[:8], realistic.start_betas[:8], realistic.start_cam_t[:8])
    once, twice = skelify.fit(alone, *start), skelify.fit(copied, *start)
    joints = [open_skel.joints(found.q, found.betas) for found in (once, twice)]
    assert (joints[0] - joints[1]).norm(dim=-1).max() < 5e-3, "two names of a place differ by next to nothing"


@pytest.mark.parametrize("mean_pose", [True, False])
def test_the_pelvis_is_held_for_people_with_a_label_alone(skelify: Skelify, realistic: People, mean_pose: bool) -> None:
    anchor = Anchor(realistic.start_q, torch.full((PEOPLE,), mean_pose))
    start = (realistic.keypoints, realistic.start_q, realistic.start_betas, realistic.start_cam_t)
    std = skelify.problem(*start, anchor).terms.precision[:, 0, :N_UNLIMITED] ** -0.5
    assert torch.allclose(std, torch.tensor(3.0 if mean_pose else 0.2, dtype=std.dtype))


def test_a_noise_that_would_not_count_is_refused() -> None:
    with pytest.raises(ValueError, match=r"counts with skelify\.noise=uniform alone"):
        SkelifyConfig(keypoint_noise=0.016)


def test_the_shape_is_held_to_its_anchor(skelify: Skelify, realistic: People) -> None:
    """A guess that knows the shape gives a better one than a guess without; an anchor counts before the guess."""
    start = (realistic.start_q, realistic.betas, realistic.start_cam_t)
    informed, blind = skelify.fit(realistic.keypoints, *start), realistic.fit(skelify)
    wrong = [(found.betas - realistic.betas).abs().mean() for found in (informed, blind)]
    assert wrong[0] < 0.5 * wrong[1]
    anchor = Anchor(realistic.start_q, torch.zeros(PEOPLE, dtype=torch.bool), realistic.start_betas)
    held = skelify.fit(realistic.keypoints, *start, anchor)
    assert (held.betas - blind.betas).abs().max() < 1e-2, "two starts of one objective stop a little apart"


def test_no_keypoints_keeps_the_start(skelify: Skelify, realistic: People) -> None:
    found = skelify.fit(torch.zeros(PEOPLE, 44, 3), realistic.start_q, realistic.start_betas, realistic.start_cam_t)
    assert (found.q - realistic.start_q).abs().max() < 1e-6
    assert (found.q_std[:, N_UNLIMITED:] > 0.05).all()


def test_person_cut_at_the_waist_stays_sane(open_skel: Skel, skelify: Skelify, exact: People) -> None:
    """No hips, knees or feet in the picture, as the astronaut."""
    keypoints = exact.keypoints.clone()
    legs = [8, 9, 10, 11, 12, 13, 14, *range(19, 25), *range(25, 31), 39]
    keypoints[:, legs] = 0
    for found in (
        skelify.fit(keypoints, exact.start_q, exact.start_betas, exact.start_cam_t),
        skelify.fit_from_mean_pose(keypoints),
    ):
        assert all(torch.isfinite(x).all() for x in found)
        ratio = found.cam_t[:, 2] / exact.cam_t[:, 2]
        assert ((ratio > 1 / 3) & (ratio < 3)).all()
        assert (found.kp2d_error * CROP_PX).median() < 3
    upper = [k for k in SCORED if k not in legs]
    told = Skelify(open_skel, SkelifyConfig(noise="uniform"))
    seen = told.fit(keypoints, exact.start_q, exact.start_betas, exact.start_cam_t)
    known, unknown = seen.q_std[:, 29].median(), seen.q_std[:, 6].median()
    assert unknown > 1.2 * known, "a knee that nobody sees is less certain than a shoulder that is seen"
    assert len(upper) > 20


def test_holding_to_the_first_guess_stops_the_drift(open_skel: Skel, skelify: Skelify, realistic: People) -> None:
    """Fitting the result again with the first fit's anchor changes nothing: no new information, no new pose."""
    first = realistic.fit(skelify)
    anchor = Anchor(first.anchor_q, torch.zeros(PEOPLE, dtype=torch.bool), first.anchor_betas)
    again = skelify.fit(realistic.keypoints, first.q, first.betas, first.cam_t, anchor)
    moved = mpjpe_mm(open_skel.keypoints(again.q, again.betas), open_skel.keypoints(first.q, first.betas))
    drifted = skelify.fit(realistic.keypoints, first.q, first.betas, first.cam_t)
    drift = mpjpe_mm(open_skel.keypoints(drifted.q, drifted.betas), open_skel.keypoints(first.q, first.betas))
    assert moved.median() < 1.0
    assert moved.median() < 0.5 * drift.median()


@pytest.mark.parametrize("shape", [(3, 46), (2, 45)])
def test_wrong_shapes_are_refused(skelify: Skelify, shape: tuple[int, int]) -> None:
    with shapes_unchecked(), pytest.raises(ValueError, match="must have shapes"):
        skelify.fit(torch.zeros(2, 44, 3), torch.zeros(shape), torch.zeros(2, 10), torch.ones(2, 3))


def test_nobody(skelify: Skelify) -> None:
    found = skelify.fit(torch.zeros(0, 44, 3), torch.zeros(0, 46), torch.zeros(0, 10), torch.zeros(0, 3))
    assert found.q.shape == (0, 46)
    assert skelify.fit_from_mean_pose(torch.zeros(0, 44, 3)).q.shape == (0, 46)


def test_against_upstream(golden_dir: Path, standin_skel: Skel) -> None:
    """Upstream's refiner on its own eight cases: our keypoint error is no worse, our pose nearer to the truth."""
    golden = Golden(golden_dir / "skelify.npz")
    keypoints = golden("kp2d")
    skelify = Skelify(standin_skel, SkelifyConfig(noise="uniform"))  # made keypoints, as near as that says
    found = skelify.fit(keypoints, golden("init_q"), golden("init_betas"), golden("init_cam_t"))
    truth = standin_skel.keypoints(golden("true_q"), golden("true_betas"))
    theirs = standin_skel.keypoints(golden("upstream_q"), golden("upstream_betas"))
    their_error = kp2d_error(project(theirs, golden("upstream_cam_t")), keypoints)
    ours = standin_skel.keypoints(found.q, found.betas)
    print("kp2d px ", [f"{a * 256:.2f}/{b * 256:.2f}" for a, b in zip(found.kp2d_error, their_error, strict=True)])
    print("MPJPE mm", mpjpe_mm(ours, truth).mean(), mpjpe_mm(theirs, truth).mean())
    assert found.kp2d_error.mean() <= 1.1 * their_error.mean()
    assert (found.kp2d_error <= 1.1 * their_error + 1 / CROP_PX).all()
    assert mpjpe_mm(ours, truth).mean() < mpjpe_mm(theirs, truth).mean()
