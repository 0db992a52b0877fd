"""`calibration` runs on a few people, and its figures are those of its definitions."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import GROUPS, LEVELS, LIMITED, judged
from benchmarks.calibration_plot import draw
from schemas.skel import N_Q, N_UNLIMITED
from tests.benchmarks.test_benchmarks import bench


def test_it_writes_a_row_for_each_predictor_round_and_group(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    done = bench("--quick", "calibration", f"--json={file}")
    assert done.returncode == 0, done.stderr
    for expected in ("90 % holds", "AUSE", "Hidden keypoints", "by decile", "without the share"):
        assert expected in done.stdout
    rows = json.loads(file.read_text())
    assert [(row["predictor"], row["round"], row["group"]) for row in rows] == [
        (kind, 1, group) for kind in ("none", "truth") for group in GROUPS
    ]
    assert all(0 < row["coverage_50"] < row["coverage_90"] <= 1 for row in rows)


def test_every_angle_is_in_one_group() -> None:
    parts = [angle for group, angles in GROUPS.items() if group != LIMITED for angle in angles]
    assert sorted(parts) == list(range(N_Q))
    assert GROUPS[LIMITED] == list(range(N_UNLIMITED, N_Q))


@pytest.fixture(scope="module")
def std() -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(-2, 0.5, (4000, 2)))


@pytest.fixture(scope="module")
def error(std: np.ndarray) -> np.ndarray:
    return std * np.random.default_rng(1).standard_normal(std.shape)


def test_true_deviations_are_calibrated_and_beat_one_for_everyone(error: np.ndarray, std: np.ndarray) -> None:
    row = judged(error, std)
    np.testing.assert_allclose(row["coverage"], LEVELS, atol=0.02)
    assert row["nll"] < row["nll_constant"]
    assert 0 < row["ause"] < row["ause_blind"]
    blind = judged(error, std[::-1])
    assert blind["ause"] == pytest.approx(row["ause_blind"], abs=0.03)


def test_the_picture_is_drawn(error: np.ndarray, std: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    row = {"predictor": "truth", "noise": 0.1, "round": 1, **judged(error, std)}
    draw([row, row | {"round": 2}], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match="make setup"):
        draw([], tmp_path / "plot.png")
