"""Poses keep the limits and look in every direction; pseudo-labels err as such labels do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.body import Skel, Smpl, load_smpl
from pipeline.demo_set.detector import RUNS, DetectorErrors, assumed_errors, detect_keypoints, measured_errors
from pipeline.demo_set.population import make_population
from pipeline.demo_set.poses import KEY_POSES, key_pose, sample_bodies
from pipeline.demo_set.pseudo_labels import local_axis_angle, smpl_world_rotations
from pipeline.image.keypoint_noise import keypoint_noise
from pipeline.numerics.error_metrics import mpjpe_mm
from schemas.keypoints import TWINS
from schemas.skel import Q_NAMES, q_limits


@pytest.fixture(scope="module")
def smpl() -> Smpl:
    return load_smpl("open")


@given(st.integers(0, 2**31 - 1), st.integers(1, 80))
@settings(max_examples=25, deadline=None)
def test_true_poses_keep_the_limits(seed: int, count: int) -> None:
    states = sample_bodies(np.random.default_rng(seed), count)
    low, high = q_limits()
    body = states.q[:, 3:].astype(np.float32)
    assert (body >= low[3:]).all()
    assert (body <= high[3:]).all()
    assert np.isfinite(states.q).all()
    assert np.abs(states.betas).max() <= 2.2


@pytest.mark.parametrize("name", KEY_POSES)
def test_key_poses_are_possible_as_written(name: str) -> None:
    """Authored angles need no clipping, save the shoulder blade that follows the arm."""
    q, _ = key_pose(name)
    low, high = q_limits()
    scapula = np.array(["scapula" in dof for dof in Q_NAMES])
    wrong = ((q < low - 1e-9) | (q > high + 1e-9)) & ~scapula
    assert not wrong.any(), [dof for dof, bad in zip(Q_NAMES, wrong, strict=True) if bad]


def test_people_face_every_way_and_mostly_stand_upright(skel: Skel) -> None:
    states = sample_bodies(np.random.default_rng(0), 400)
    q, betas = (torch.as_tensor(x, dtype=torch.float32) for x in (states.q, states.betas))
    pelvis = skel.bone_motion(q, betas)[2].rotations[:, 0]
    head_down = -pelvis[:, 1, 1]  # camera y points down, so the body's up axis should have negative y
    assert (head_down > 0.2).float().mean() > 0.8
    facing = torch.atan2(pelvis[:, 0, 2], -pelvis[:, 2, 2])
    quarters = torch.bincount(((facing + np.pi) / (np.pi / 2)).long().clamp(0, 3), minlength=4) / 400
    assert quarters.min() > 0.15


def test_smpl_twin_of_a_skel_pose_is_the_same_body(skel: Skel, smpl: Smpl) -> None:
    """Without the made-up errors, SMPL rotations taken from SKEL bones put the joints where they are, to 10 mm."""
    population = make_population(np.random.default_rng(5), skel, alone(40))[0]
    q, betas = torch.as_tensor(population.q), torch.as_tensor(population.betas)
    bones = skel.bone_motion(q, betas)[2].rotations.double().numpy()
    pose = torch.as_tensor(local_axis_angle(smpl_world_rotations(bones))).float()
    assert float(smpl_error_mm(smpl, population.vertices, pose, betas).mean()) < 10


def test_pseudo_labels_err_like_public_ones(skel: Skel, smpl: Smpl) -> None:
    population = make_population(np.random.default_rng(6), skel, alone(120))[0]
    labels = population.labels
    shown = labels.has_pose
    assert 0.85 < shown.mean() < 1
    assert (labels.pose[~shown] == 0).all()
    pose, betas = (torch.as_tensor(x[shown]).float() for x in (labels.pose, labels.betas))
    error = smpl_error_mm(smpl, population.vertices[shown], pose, betas)
    assert 50 < float(error.mean()) < 100
    backwards = labels.pose[shown][:, [4, 5], 0] < -np.deg2rad(7)
    assert 0.15 < backwards.mean() < 0.5, "hyperextended knees"


def alone(count: int) -> list[list[int]]:
    return [[person] for person in range(count)]


def smpl_error_mm(smpl: Smpl, vertices: np.ndarray, pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    regressor = torch.as_tensor(smpl.arrays.joint_regressor).float()
    true, labelled = regressor @ torch.as_tensor(vertices), regressor @ smpl.forward(pose, betas).vertices
    return mpjpe_mm(labelled, true, root=0)


@pytest.mark.parametrize("errors", [assumed_errors(), measured_errors()], ids=["assumed", "measured"])
def test_hidden_and_outside_points_are_worse_or_absent(errors: DetectorErrors) -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(-0.4, 0.4, (44, 2))
    everywhere = np.ones(44, bool)
    seen = [detect_keypoints(rng, true, everywhere, everywhere, errors) for _ in range(200)]
    hidden = [detect_keypoints(rng, true, ~everywhere, everywhere, errors) for _ in range(200)]
    outside = [detect_keypoints(rng, true, everywhere, ~everywhere, errors) for _ in range(20)]

    def median_error(results: list) -> float:
        return float(np.median(np.concatenate([np.linalg.norm(p[ok, :2] - true[ok], axis=1) for p, ok in results])))

    assert median_error(hidden) > 1.5 * median_error(seen)
    assert np.mean([ok.mean() for _, ok in hidden]) < np.mean([ok.mean() for _, ok in seen]) - 0.05
    assert not any(ok.any() for _, ok in outside)
    assert all((p == 0).all() for p, _ in outside)


def test_copies_stand_where_their_originals_do() -> None:
    rng, everywhere = np.random.default_rng(2), np.ones(44, bool)
    points, present = detect_keypoints(rng, rng.uniform(-0.4, 0.4, (44, 2)), everywhere, everywhere, measured_errors())
    both = [(twin, original) for twin, original in TWINS.items() if present[twin]]
    assert len(both) > 5
    assert all((points[twin] == points[original]).all() for twin, original in both)


def test_measured_errors_are_as_large_as_the_file_says() -> None:
    """Over people of every difficulty, 15 % of points hidden; misplaced points aside."""
    rng, everywhere, noise = np.random.default_rng(3), np.ones(44, bool), keypoint_noise()
    away = []
    for _ in range(2000):
        points, present = detect_keypoints(
            rng, np.zeros((44, 2)), rng.random(44) >= 0.15, everywhere, measured_errors()
        )
        near = present & (np.linalg.norm(points[:, :2], axis=1) < 0.06)
        away.append(np.where(near[:, None], points[:, :2], np.nan))
    rms = np.sqrt(np.nanmean(np.square(away), axis=(0, 2)))
    expected = noise.beside_offset.numpy() / np.sqrt(0.64)
    chosen = noise.measured.numpy()
    np.testing.assert_allclose(rms[chosen], expected[chosen], rtol=0.15)


@pytest.mark.parametrize("errors", [assumed_errors(), measured_errors()], ids=["assumed", "measured"])
def test_layout_twins_are_lost_together(errors: DetectorErrors) -> None:
    rng = np.random.default_rng(1)
    everywhere = np.ones(44, bool)
    for _ in range(50):
        _, present = detect_keypoints(rng, np.zeros((44, 2)), everywhere, everywhere, errors)
        assert all(present[original] or not present[twin] for twin, original in TWINS.items())
    assert all(0 <= point < 44 for run in RUNS for point in run)
