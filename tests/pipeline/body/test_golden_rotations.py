"""Representation changes on random, near-singular and degenerate inputs (tests/golden/README.md, rotations.npz)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.body.representation import (
    matrix_to_orientation,
    mirror_q,
    orientation_q,
    orientation_to_matrix,
    q_to_representation,
    q_to_rotations,
    representation_to_q,
    turn_in_image_plane,
)
from pipeline.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_from_6d
from tests.pipeline.body.standin import Golden

REGULAR, SINGULAR = 2e-5, 1e-3  # rad or entries of a matrix; float32 of 1e-5 on angles up to 2 pi
ROWS = 32
pytestmark = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir / "rotations.npz")


def regular(golden: Golden, *excluded: str) -> Tensor:
    rows = torch.ones(ROWS, dtype=torch.bool)
    for name in excluded:
        rows[golden(name).long()] = False
    return rows


def angle_difference(got: Tensor, expected: Tensor) -> Tensor:
    return (torch.remainder(got - expected + torch.pi, 2 * torch.pi) - torch.pi).abs()


def test_forward_changes(golden: Golden, dtype: torch.dtype) -> None:
    q = golden("q", dtype)
    for got, name in (
        (q_to_representation(q), "q2rep"),
        (q_to_rotations(q), "q2rot"),
        (mirror_q(q), "flip_params_lr"),
        (orientation_to_matrix(q[:, :3]), "real_orient_q2mat"),
        (axis_angle_to_matrix(golden("axis_angle", dtype)), "axis_angle_to_mat"),
    ):
        assert (got - golden(name, dtype)).abs().max() < REGULAR / 2, name


def test_representation_back_to_q(golden: Golden, dtype: torch.dtype) -> None:
    q = representation_to_q(golden("q2rep", dtype))
    assert torch.isfinite(q).all()
    rows = regular(golden, "near_singular_rows")
    assert angle_difference(q, golden("rep2q_of_q2rep", dtype))[rows].max() < REGULAR
    back = (q_to_rotations(q) - golden("q2rot", dtype)).abs()
    assert back[rows].max() < REGULAR
    assert back.max() < SINGULAR


def test_raw_network_output(golden: Golden, dtype: torch.dtype) -> None:
    """Including 6D vectors of zero length, half zero, collinear: finite, though not upstream's numbers."""
    raw = golden("raw_rep", dtype)
    matrices, q = rotation_from_6d(raw), representation_to_q(raw)
    assert torch.isfinite(matrices).all()
    assert torch.isfinite(q).all()
    rows = regular(golden, "degenerate_raw_rows")
    assert (matrices - golden("raw6d_to_mat", dtype))[rows].abs().max() < REGULAR
    assert (q_to_rotations(q) - golden("rot_of_rep2q_of_raw", dtype))[rows].abs().max() < REGULAR


def test_turn_in_image_plane(golden: Golden, dtype: torch.dtype) -> None:
    q = turn_in_image_plane(golden("q", dtype), torch.deg2rad(golden("rot_deg", dtype)))
    assert torch.isfinite(q).all()
    got = q_to_rotations(q)[:, 0]
    assert (got - golden("rot_skel_on_plane_rot", dtype)).abs().max() < SINGULAR
    rows = regular(golden, "near_singular_rows")
    assert (got - golden("rot_skel_on_plane_rot", dtype))[rows].abs().max() < REGULAR
    assert torch.equal(q[:, 3:], golden("q", dtype)[:, 3:])


def test_global_orientation(golden: Golden, dtype: torch.dtype) -> None:
    """Near the gimbal upstream's asin reads the rounding of the input: its rotation is 2e-5 off, ours 1e-7."""
    mats = golden("orient_mats", dtype)
    q = matrix_to_orientation(mats)
    assert torch.isfinite(q).all()
    assert (orientation_to_matrix(q) - mats).abs().max() < 1e-6
    upstream = golden("real_orient_mat2q", dtype)
    near_gimbal = (q[:, 1].abs() - torch.pi / 2).abs() < 1e-2
    assert angle_difference(q, upstream)[~near_gimbal].max() < REGULAR
    rows = regular(golden, "orient_gimbal_rows")
    assert angle_difference(q, upstream)[rows].max() < 3e-5


def test_pelvis_orientation(golden: Golden, dtype: torch.dtype) -> None:
    mats = golden("orient_mats", dtype)
    q = orientation_q(mats)
    assert angle_difference(q, golden("orient_mat2q", dtype)).max() < REGULAR
    back = q_to_rotations(torch.cat([q, torch.zeros(ROWS, 43, dtype=dtype)], 1))[:, 0]
    assert (back - mats).abs().max() < 1e-6


def test_axis_angle_round_trip(golden: Golden, dtype: torch.dtype) -> None:
    matrices = golden("axis_angle_to_mat", dtype)
    back = axis_angle_to_matrix(matrix_to_axis_angle(matrices))
    assert (back - matrices).abs().max() < REGULAR
