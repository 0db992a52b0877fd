"""The crop camera: projection by hand, and the one solver that parent and candidate are judged under."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.body import Skel, load_skel
from pipeline.image.camera import FOCAL, project, projection_jacobian, rough_camera, solve_camera
from pipeline.image.keypoint_error import enough_keypoints, kp2d_error, usable_confidence
from tests.pipeline.body.poses import poses_within_limits, shapes, upright_poses
from tests.repository import ROOT


@pytest.fixture(scope="module")
def skel() -> Skel:
    return load_skel(dtype=torch.float64)


FOCALS = (1.5, 4.0, 19.5)
"""Crop units: a person who fills most of a wide photo, an ordinary one, one who is far away."""


def cameras(count: int, seed: int, focal: float = FOCAL) -> Tensor:
    """cam_t of people who about fill the crop."""
    uniform = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    depth = focal / FOCAL * (35 + 30 * uniform[:, 2])
    return torch.stack([uniform[:, 0] - 0.5, uniform[:, 1] - 0.5, depth], 1)


def seen(points: Tensor, cam_t: Tensor, confidence: float = 1.0) -> Tensor:
    """Keypoints (B, 44, 3) that a perfect detector gives."""
    xy = project(points, cam_t)
    return torch.cat([xy, torch.full_like(xy[..., :1], confidence)], -1)


def test_projection_by_hand() -> None:
    point = torch.tensor([[[0.0, 0.0, 0.0], [1.0, -2.0, 0.0], [1.0, 0.0, 10.0]]])
    got = project(point, torch.tensor([[0.0, 0.0, 10.0]]))[0]
    focal = 5000 / 256
    torch.testing.assert_close(got, torch.tensor([[0.0, 0.0], [focal / 10, -focal / 5], [focal / 20, 0.0]]))
    assert focal == FOCAL
    # 1 m at 5000 px focal and 50 m is 100 px of the 256 crop
    assert project(torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[0.0, 0.0, 50.0]]))[0, 0, 0] * 256 == pytest.approx(
        100
    )


def test_projection_jacobian() -> None:
    points, cam_t = torch.randn(3, 44, 3, dtype=torch.float64), cameras(3, 0)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda t, x: project(x[None], t[None])[0]))(cam_t, points)
    torch.testing.assert_close(projection_jacobian(points, cam_t), jacobian)


@pytest.mark.parametrize("focal", FOCALS)
def test_projection_and_jacobian_at_other_focal_lengths(focal: float) -> None:
    points, cam_t = 0.3 * torch.randn(3, 44, 3, dtype=torch.float64), cameras(3, 0, focal)
    told = torch.full((3,), focal, dtype=torch.float64)
    torch.testing.assert_close(project(points, cam_t, told), focal / FOCAL * project(points, cam_t))
    one = torch.func.jacrev(lambda t, x: project(x[None], t[None], told[:1])[0])
    torch.testing.assert_close(projection_jacobian(points, cam_t, told), torch.func.vmap(one)(cam_t, points))
    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    numeric = [(project(points, cam_t + h, told) - project(points, cam_t - h, told)) / 2e-6 for h in step]
    torch.testing.assert_close(projection_jacobian(points, cam_t, told), torch.stack(numeric, -1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("focal", FOCALS)
def test_true_camera_is_found_at_other_focal_lengths(skel: Skel, focal: float) -> None:
    """Also when people fill the crop of a wide lens three times over, a metre in front of it."""
    points = skel.keypoints(upright_poses(40, 1), shapes(40, 2))
    told = torch.full((40,), focal, dtype=torch.float64)
    for nearness in (1.0, 0.4):
        cam_t = cameras(40, 3, focal) * torch.tensor([1.0, 1.0, nearness], dtype=torch.float64)
        cam_t[:, 2] = cam_t[:, 2].clamp_min(1.0)
        keypoints = torch.cat([project(points, cam_t, told), torch.ones(40, 44, 1, dtype=torch.float64)], -1)
        found = solve_camera(points, keypoints, told)
        assert ((found - cam_t).abs().amax(1) / cam_t[:, 2]).max() < 1e-6
        rough = rough_camera(points, keypoints, told)
        assert ((rough[:, 2] / cam_t[:, 2]).log().abs() < 0.5).all()


def test_a_person_nearer_than_a_metre_is_found_through_a_wide_lens(skel: Skel) -> None:
    """A head and shoulders 0.8 m away: the depth that outliers are kept from does not reach so far."""
    points = skel.keypoints(upright_poses(10, 1), shapes(10, 2))
    middle = points[:, 1:2]
    cam_t = torch.tensor([0.0, 0.0, 0.8], dtype=torch.float64) - middle[:, 0]
    told = torch.full((10,), 1.5, dtype=torch.float64)
    upper = torch.zeros(10, 44, 1, dtype=torch.float64)
    upper[:, [0, 1, 2, 5, 15, 16, 17, 18, 33, 34, 40, 42, 43]] = 1
    keypoints = torch.cat([project(points, cam_t, told), upper], -1)
    assert ((solve_camera(points, keypoints, told) - cam_t).abs() < 1e-4).all()
    assert (rough_camera(points, keypoints, told)[:, 2] + middle[:, 0, 2] < 1.0).all()


def test_everyone_may_have_a_focal_length_of_their_own(skel: Skel) -> None:
    points, focal = skel.keypoints(upright_poses(3, 1), shapes(3, 2)), torch.tensor(FOCALS, dtype=torch.float64)
    cam_t = torch.cat([cameras(3, 3, f)[i, None] for i, f in enumerate(FOCALS)])
    keypoints = torch.cat([project(points, cam_t, focal), torch.ones(3, 44, 1, dtype=torch.float64)], -1)
    assert ((solve_camera(points, keypoints, focal) - cam_t).abs().amax(1) / cam_t[:, 2]).max() < 1e-6
    told = torch.full((3,), FOCAL, dtype=torch.float64)
    assert torch.equal(solve_camera(points, keypoints, told), solve_camera(points, keypoints))


def test_points_behind_the_camera_stay_finite() -> None:
    assert torch.isfinite(project(torch.tensor([[[1.0, 1.0, -9.0]]]), torch.tensor([[0.0, 0.0, 1.0]]))).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_true_camera_is_found(skel: Skel, dtype: torch.dtype, tolerance: float) -> None:
    points, cam_t = skel.keypoints(poses_within_limits(40, 1), shapes(40, 2)), cameras(40, 3)
    found = solve_camera(points.to(dtype), seen(points, cam_t).to(dtype)).double()
    assert ((found - cam_t).abs().amax(1) / cam_t[:, 2]).max() < tolerance
    assert kp2d_error(project(points, found), seen(points, cam_t)).max() < 1e-5


def test_outliers_hardly_move_the_camera(skel: Skel) -> None:
    """The weighted sum of distances, not of squares: a third of the points thrown far away."""
    points, cam_t = skel.keypoints(upright_poses(20, 1), shapes(20, 2)), cameras(20, 3)
    keypoints = seen(points, cam_t)
    keypoints[:, 3:14:2, :2] += torch.tensor([0.4, -0.3], dtype=torch.float64)
    found = solve_camera(points, keypoints)
    clean = torch.ones(44, dtype=torch.bool)
    clean[3:14:2] = False
    distance = (project(points, found) - keypoints[..., :2])[:, clean].norm(dim=-1)
    assert distance.median() < 0.01


def test_solution_is_a_minimum_of_the_error_labels_are_judged_by(skel: Skel) -> None:
    """No camera nearby is better by more than the smoothing of 1e-3 crop units allows."""
    points, cam_t = skel.keypoints(upright_poses(10, 1), shapes(10, 2)), cameras(10, 3)
    keypoints = seen(points, cam_t)
    generator = torch.Generator().manual_seed(4)
    keypoints[..., :2] += 0.03 * torch.randn(10, 44, 2, generator=generator, dtype=torch.float64)
    found = solve_camera(points, keypoints)
    best = kp2d_error(project(points, found), keypoints)
    for _ in range(200):
        nearby = found * (1 + 0.02 * torch.randn(10, 3, generator=generator, dtype=torch.float64))
        assert (kp2d_error(project(points, nearby), keypoints) > best - 1e-4).all()


@given(st.integers(0, 2**31), st.integers(5, 42))
@settings(max_examples=25)
def test_any_keypoints_give_a_finite_camera(seed: int, visible: int) -> None:
    """Keypoints that have nothing to do with the body, all at one place, or hardly any."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(4, 44, 3, generator=generator, dtype=torch.float64)
    keypoints = torch.randn(4, 44, 3, generator=generator, dtype=torch.float64)
    keypoints[..., 2] = (torch.arange(44) < visible).double()
    keypoints[1, :, :2] = 0.2
    keypoints[2, :, 2] = 0
    keypoints[3, :, :2] *= 1e4
    found = solve_camera(points, keypoints)
    assert torch.isfinite(found).all()
    assert (found[:, 2] > 0).all()
    assert torch.isfinite(rough_camera(points, keypoints)).all()


def test_camera_does_not_depend_on_the_batch(skel: Skel) -> None:
    points, cam_t = skel.keypoints(upright_poses(9, 1), shapes(9, 2)), cameras(9, 3)
    for dtype in (torch.float64, torch.float32):
        keypoints = seen(points, cam_t)
        keypoints[..., :2] += 0.02 * torch.randn(9, 44, 2, generator=torch.Generator().manual_seed(1)).double()
        keypoints[4] = torch.nan
        together = solve_camera(points.to(dtype), keypoints.to(dtype))
        order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
        permuted = solve_camera(points[order].to(dtype), keypoints[order].to(dtype))
        for person in [p for p in range(9) if p != 4]:
            alone = solve_camera(points[person, None].to(dtype), keypoints[person, None].to(dtype))[0]
            for other in (alone, permuted[order == person][0]):
                assert ((other - together[person]).abs() <= 1e-4 * together[person, 2]).all()


def keypoints_at(places: list[tuple[float, float, float]]) -> Tensor:
    """(1, 44, 3) with the first points as given and the others absent."""
    keypoints = torch.zeros(1, 44, 3)
    keypoints[0, : len(places)] = torch.tensor(places)
    return keypoints


def test_error_by_hand() -> None:
    keypoints = keypoints_at([(0.0, 0.0, 1.0), (0.5, 0.0, 0.5), (9.0, 9.0, 0.29), (float("nan"), 0.0, 1.0)])
    keypoints[0, 37] = keypoints[0, 38] = torch.tensor([0.3, 0.3, 1.0])
    projected = torch.zeros(1, 44, 2)
    projected[0, 0] = torch.tensor([0.03, 0.04])
    # (1 * 0.05 + 0.5 * 0.5) / 1.5: the weak, the NaN and the two unscored points count for nothing
    assert kp2d_error(projected, keypoints).item() == pytest.approx(0.2)
    assert usable_confidence(keypoints)[0].nonzero().flatten().tolist() == [0, 1]
    assert torch.isnan(kp2d_error(projected, torch.zeros(1, 44, 3))).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_point_that_is_not_finite_is_absent(value: float, column: int) -> None:
    keypoints = keypoints_at([(0.1, 0.1, 1.0), (0.2, 0.2, 1.0)])
    keypoints[0, 1, column] = value
    assert usable_confidence(keypoints)[0].nonzero().flatten().tolist() == [0]
    assert torch.isfinite(kp2d_error(torch.zeros(1, 44, 2), keypoints)).all()


def test_a_confidence_beyond_one_is_one() -> None:
    """One hostile number must not outweigh every other point."""
    keypoints = keypoints_at([(0.1, 0.0, 1.0), (0.2, 0.0, 5000.0), (0.3, 0.0, -1.0), (0.4, 0.0, 0.29)])
    assert usable_confidence(keypoints)[0, :4].tolist() == [1, 1, 0, 0]
    assert kp2d_error(torch.zeros(1, 44, 2), keypoints).item() == pytest.approx(0.15)


def test_enough_keypoints() -> None:
    five = [(0.1 * i, 0.0, 0.3) for i in range(5)]
    cases = (
        (keypoints_at(five), True),
        (keypoints_at(five[:4]), False),
        (keypoints_at([*five[:4], (0.4, 0.0, 0.299)]), False),  # not confident
        (keypoints_at([*five[:4], five[0]]), False),  # two joints at one place
        (keypoints_at([*five[:4], five[0], (0.9, 0.9, 1.0)]), True),
        (keypoints_at([*five[:4], (0.9, float("nan"), 1.0)]), False),
        (keypoints_at([(0.0, 0.0, 0.1), *five[1:], (0.0, 0.0, 1.0)]), True),  # the unsure twin does not count
    )
    for keypoints, expected in cases:
        assert enough_keypoints(keypoints).item() is expected
    beyond_the_body = torch.zeros(1, 44, 3)
    beyond_the_body[0, 25:] = torch.rand(19, 3) + 0.5
    assert not enough_keypoints(beyond_the_body).item()


@pytest.mark.parametrize("focal", [7.5, 40.0])
def test_the_constant_is_written_once(focal: float) -> None:
    """Changed there, fits in both forms, acceptance, network, drawing and exports all follow."""
    script = Path(__file__).with_name("another_focal.py")
    done = subprocess.run(
        [sys.executable, str(script), str(focal)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout == "everything follows\n", done.stderr
