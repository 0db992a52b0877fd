"""`loop-gain` runs on a few people, and its made networks are as good as they say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.loop_gain import ALL
from benchmarks.made.predictors import DEFAULT_NOISE, KINDS
from tests.benchmarks.test_benchmarks import bench

HONEST = ("truth", "joints", "biased", "garbage")


def test_it_writes_a_row_for_each_predictor_and_round(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    done = bench("loop-gain", "--people=24", "--rounds=1", *(f"--predictor={p}" for p in ALL), f"--json={file}")
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    assert [row["predictor"] for row in rows] == ["labels", *(text.partition(":")[0] for text in ALL)]
    asked = {
        "predictor",
        "noise",
        "round",
        "mpjpe_mm",
        "pa_mpjpe_mm",
        "mpvpe_mm",
        "kp2d_px",
        "kp2d_heldout_px",
        "people",
    }
    assert all(asked <= set(row) for row in rows)
    error = {(row["predictor"], row["noise"]): row["mpjpe_mm"] for row in rows}
    assert error["truth", 0.0] < 10 < error["truth", 0.05] < error["truth", 0.2] < error["none", 0.0] + 5
    assert abs(error["lazy", 0.0] - error["none", 0.0]) < 1, "who repeats the label tells nothing"


@pytest.mark.parametrize("kind", list(KINDS))
def test_honest_ones_claim_what_they_do(kind: str) -> None:
    rng, draws = np.random.default_rng(1), 4000
    found = [KINDS[kind](rng, DEFAULT_NOISE[kind]) for _ in range(draws)]
    away, claimed = (np.array(x) for x in zip(*found, strict=True))
    actual = np.sqrt(np.square(away).mean(0))
    assert np.allclose(actual, claimed[0], rtol=0.1) == (kind in HONEST)


def test_an_unknown_kind_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "loop-gain", "--predictor", "oracle"])
    assert main() == 1
    assert "truth, joints" in capsys.readouterr().err
