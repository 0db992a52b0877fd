"""Knees and elbows beyond their limits, against the original's numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body.rotations import axis_angle_to_matrix
from schemas.skel import Q_NAMES
from trainer.evaluation.summary import violation_statistics
from trainer.evaluation.violations import (
    PARTS,
    SMPL_LIMITS,
    TOLERANCES_DEG,
    Violations,
    skel_violations,
    smpl_violations,
)


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / "metrics.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def of_smpl(body_pose: np.ndarray) -> Violations:
    """body_pose (B, 23, 3) axis-angle; the root does not matter."""
    whole = np.concatenate([np.zeros((len(body_pose), 1, 3)), body_pose], 1)
    return smpl_violations(axis_angle_to_matrix(torch.tensor(whole)))


def of_skel(q: np.ndarray) -> Violations:
    return skel_violations(torch.tensor(q, dtype=torch.float64))


def test_parts_and_allowances_are_the_originals(golden: dict[str, np.ndarray]) -> None:
    assert golden["violation_parts"].tolist() == list(PARTS)
    assert golden["violation_tolerances_deg"].tolist() == list(TOLERANCES_DEG)


@pytest.mark.parametrize("kind", ["skel", "smpl"])
def test_golden_violations(golden: dict[str, np.ndarray], kind: str) -> None:
    """The largest over a joint's angles, at every allowance; the original looks at the first Euler solution alone."""
    found = of_skel(golden["skel_q"]) if kind == "skel" else of_smpl(golden["smpl_body_pose"].astype(np.float64))
    for row, tolerance in enumerate(TOLERANCES_DEG):
        beyond = (found.first - np.deg2rad(tolerance)).clamp_min(0)
        np.testing.assert_allclose(beyond, golden[f"{kind}_violation"][row].max(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["skel", "smpl"])
def test_golden_statistics(golden: dict[str, np.ndarray], kind: str) -> None:
    found = of_skel(golden["skel_q"]) if kind == "skel" else of_smpl(golden["smpl_body_pose"].astype(np.float64))
    statistics = violation_statistics(found.first.rad2deg())
    for row, tolerance in enumerate(TOLERANCES_DEG):
        for column, part in enumerate(PARTS):
            *angles, share = golden[f"{kind}_summary"][row, column]
            own = statistics[str(tolerance)][part]
            assert np.deg2rad([own["max"], own["mean"], own["median"]]) == pytest.approx(angles, abs=1e-5)
            assert own["share"] == pytest.approx(share, abs=1e-6)


def test_the_better_of_both_euler_solutions_counts(golden: dict[str, np.ndarray]) -> None:
    found = of_smpl(golden["smpl_body_pose"].astype(np.float64))
    assert (found.best <= found.first).all()
    better = found.best < found.first - 1e-3
    assert better.sum() == 4  # of 48 people's knees and elbows


@given(st.floats(-30, 30), st.floats(0, 130), st.booleans())
def test_a_bend_beyond_the_limit_is_found_in_both_bodies(beyond: float, bend: float, left: bool) -> None:
    """A knee bent about its hinge alone, in degrees."""
    part = "l_knee" if left else "r_knee"
    angle = 135 + beyond if beyond > 0 else beyond
    pose = np.zeros((1, 23, 3))
    pose[0, SMPL_LIMITS[part].joint - 1, 0] = np.deg2rad(angle)
    q = np.zeros((1, 46))
    q[0, Q_NAMES.index(f"knee_angle_{part[0]}")] = np.deg2rad(angle)
    for found in (of_smpl(pose), of_skel(q)):
        assert found.best[0].rad2deg().tolist() == pytest.approx(
            [abs(beyond) if name == part else 0 for name in PARTS], abs=1e-4
        )
    pose[0, SMPL_LIMITS[part].joint - 1, 0] = np.deg2rad(bend)
    assert float(of_smpl(pose).best.max()) < 1e-6


def test_elbows_of_smpl_bend_to_opposite_sides() -> None:
    pose = np.zeros((2, 23, 3))
    pose[0, SMPL_LIMITS["l_elbow"].joint - 1, 1] = -2.0
    pose[0, SMPL_LIMITS["r_elbow"].joint - 1, 1] = 2.0
    pose[1] = -pose[0]
    found = of_smpl(pose).best
    assert found[0].tolist() == [0, 0, 0, 0]
    assert found[1, 2:].tolist() == pytest.approx([2.0, 2.0], abs=1e-6)
