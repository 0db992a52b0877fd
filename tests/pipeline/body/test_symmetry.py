"""Mirroring and turning a pose does to the body what it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.body_files import read_open_archive
from pipeline.body.representation import mirror_q, orientation_to_matrix, turn_in_image_plane
from pipeline.body.rotations import rotation_about
from schemas.skel import N_Q, N_UNLIMITED
from tests.pipeline.body.poses import limits, poses_within_limits, shapes

MIRROR_MM = 2.0


@pytest.fixture(scope="module")
def partner() -> Tensor:
    """(6890,) the vertex on the other side."""
    return torch.as_tensor(read_open_archive()["vertex_mirror"]).long()


def poses_both_sides_can_take(count: int, seed: int) -> Tensor:
    """Within the limits common to both sides. The scapulae have no elevation in common (the left range is not the
    mirror of the right one, docs/body_model.md); they elevate as the right one may.
    """
    low, high = limits()
    other = torch.stack([mirror_q(low[None])[0], mirror_q(high[None])[0]]).sort(0).values
    low, high = torch.maximum(low, other[0]), torch.minimum(high, other[1])
    q = poses_within_limits(count, seed)
    uniform = torch.rand(count, N_Q, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q[:, N_UNLIMITED:] = (low + uniform * (high - low))[:, N_UNLIMITED:]
    q[:, 27], q[:, 37] = -0.1 - 0.3 * uniform[:, 27], 0.1 + 0.3 * uniform[:, 37]
    return q


def reflected(points: Tensor) -> Tensor:
    return points * points.new_tensor([-1.0, 1.0, 1.0])


def mirror_difference_mm(skel: Skel, partner: Tensor, q: Tensor, betas: Tensor) -> Tensor:
    body, mirrored = skel(q, betas).skin_vertices, skel(mirror_q(q), betas).skin_vertices
    return (reflected(body)[:, partner] - mirrored).norm(dim=-1) * 1000


def test_mirrored_pose_gives_the_mirrored_mesh(open_skel: Skel, partner: Tensor) -> None:
    q, betas = poses_both_sides_can_take(40, 1), shapes(40, 2, size=2)
    worst = mirror_difference_mm(open_skel, partner, q, betas).amax(1)
    assert worst.max() < MIRROR_MM, f"worst {worst.max():.2f} mm, median person {worst.median():.2f} mm"


@pytest.mark.parametrize("joint_q", range(N_Q))
def test_every_degree_of_freedom_mirrors(open_skel: Skel, partner: Tensor, joint_q: int) -> None:
    low, high = limits()
    q = torch.zeros(2, N_Q, dtype=torch.float64)
    q[0, joint_q], q[1, joint_q] = low[joint_q], high[joint_q]
    worst = mirror_difference_mm(open_skel, partner, q, torch.zeros(2, 10, dtype=torch.float64)).max()
    assert worst < MIRROR_MM, f"{worst:.2f} mm"


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_mirroring_twice_is_the_identity(seed: int) -> None:
    q = poses_within_limits(3, seed)
    assert torch.equal(mirror_q(mirror_q(q)), q)


@pytest.mark.parametrize("degrees", [-180.0, -90.0, -30.0, 0.0, 10.0, 90.0, 179.0])
def test_turning_a_pose_turns_the_body_in_the_image(open_skel: Skel, degrees: float) -> None:
    """About the camera axis through the pelvis joint; as exact as the body's pelvis frame is OpenSim's."""
    q, betas = poses_within_limits(8, 3), shapes(8, 4)
    angle = torch.full((8,), np.deg2rad(degrees))
    turned = open_skel(turn_in_image_plane(q, angle), betas)
    body = open_skel(q, betas)
    pivot = body.joints[:, :1]
    about_camera = rotation_about(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(8, 3), -angle)
    expected = (body.skin_vertices - pivot) @ about_camera.mT + pivot
    assert (turned.skin_vertices - expected).norm(dim=-1).max() < 1e-4


def test_orientation_is_the_turn_of_the_pelvis(open_skel: Skel) -> None:
    q = poses_within_limits(20, 5)
    world = open_skel.bone_motion(q, torch.zeros(20, 10, dtype=torch.float64))[2].rotations[:, 0]
    assert (world - orientation_to_matrix(q[:, :3])).abs().max() < 1e-4
