"""`truth-loop` runs real loops on a few people, goes on where it was, and its rules are the ones that it names."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import truth_loop
from benchmarks.baselines.error_rule import OLD, PUBLISHED, ErrorRule, judge_by_error
from benchmarks.baselines.fused_anchor import fused_anchor
from benchmarks.loops.arms import ARMS
from benchmarks.loops.made_truth import MadeTruth
from benchmarks.loops.plots import plot_rows
from benchmarks.loops.truth_rows import Row
from benchmarks.report import Options
from pipeline.labelling.acceptance import Measured
from pipeline.labels import LabelStore
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from schemas.labels import Decision
from trainer.training.train_config import TrainConfig

FIELDS = ["mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_px", "kp2d_heldout_px"]
SEEN = torch.linspace(0.5, 1, 44 * 3).double().reshape(1, 44, 3)
KEPT = {Decision.KEPT_NOT_BETTER, Decision.KEPT_BETAS_OUT_OF_RANGE, Decision.KEPT_TOO_FEW_KEYPOINTS}


@pytest.mark.timeout(1800)  # six processes of Ray, on a machine that is shared
@pytest.mark.usefixtures("local_ray")
def test_it_judges_labels_and_networks_of_each_loop_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("data.global_batch=8",)
    options = Options(quick=True, variant="tiny", work=tmp_path, json=tmp_path / "rows.json", train=settings)
    truth_loop.run(options)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert all(list(row) == ["arm", "seed", "round", "whose", "poses", "people", *FIELDS] for row in rows)
    asked = [
        (arm, whose, poses, round)
        for arm in ("no-network", "hsmr")
        for whose, rounds in (("labels", (0, 1)), ("network", (0,)))
        for poses in ("all", "standard", "extreme")
        for round in rounds
    ]
    found = {tuple(row[key] for key in ("arm", "whose", "poses", "round")): row for row in rows}
    assert list(found) == asked
    before, after = (found["no-network", "labels", "all", round] for round in (0, 1))
    assert after["mpjpe_mm"] < before["mpjpe_mm"]
    parts = [found["no-network", "labels", poses, 1]["people"] for poses in ("standard", "extreme", "all")]
    assert parts[0] + parts[1] == parts[2] == before["people"]

    (folder,) = (tmp_path / "people-24-seed-0").glob("hsmr-*")
    labels = LabelStore(str(folder)).read_all(1)
    assert labels["energy"].null_count == len(labels), "no energy decides there"
    decisions = set(labels["decision"].to_pylist())
    assert Decision.IMPROVED in decisions
    assert decisions <= {Decision.IMPROVED, Decision.FIRST_LABEL, Decision.NO_LABEL} | KEPT
    improved = labels.filter(np.array(labels["decision"]) == Decision.IMPROVED)
    assert np.abs(np.array(improved["betas"].to_pylist())).max() <= 2
    assert (improved["kp2d_error"].to_numpy() < improved["parent_kp2d_error"].to_numpy()).all()

    capsys.readouterr()
    truth_loop.run(replace(options, arms=("hsmr",)))
    again = capsys.readouterr().out
    assert "refine" not in again
    assert "train 0" not in again
    assert json.loads((tmp_path / "rows.json").read_text()) == [row for row in rows if row["arm"] == "hsmr"]


@pytest.mark.parametrize("name", list(ARMS))
def test_the_settings_of_every_arm_are_settings(name: str) -> None:
    load_config(RoundConfig, list(ARMS[name].rounds))
    load_config(TrainConfig, list(ARMS[name].training))


def test_an_unknown_arm_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--arms oracle: there are loop, no-network"):
        truth_loop.run(Options(arms=("oracle",), work=tmp_path))


def test_a_quarter_of_the_poses_is_extreme(tmp_path: Path) -> None:
    made = MadeTruth(tmp_path / "made", 24, 0)
    standard, extreme = made.poses["standard"], made.poses["extreme"]
    assert standard is not None
    assert extreme is not None
    assert (len(standard), len(extreme)) == (18, 6)
    assert not set(standard) & set(extreme)


def test_both_plots_are_drawn(tmp_path: Path) -> None:
    rows: list[Row] = [
        {
            "arm": arm,
            "seed": seed,
            "round": round,
            "whose": whose,
            "poses": poses,
            **dict.fromkeys(FIELDS, 10.0 - round),
        }
        for arm in ("loop", "hsmr")
        for seed in (0, 1)
        for round in (0, 1)
        for whose in ("labels", "network")
        for poses in ("all", "standard", "extreme")
    ]
    rows[0]["kp2d_heldout_px"] = None
    files = plot_rows(rows, tmp_path / "plots")
    assert [file.name for file in files] == ["labels.png", "network.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def measured(error: float, betas: float = 0.0, violation: float = 0.0) -> Measured:
    error_, betas_, violation_ = (torch.tensor([x]).double() for x in (error, betas, violation))
    nothing = torch.full_like(error_, torch.nan)
    return Measured(torch.zeros(1, 3).double(), error_, violation_, betas_, torch.ones(1, dtype=torch.bool), nothing)


@pytest.mark.parametrize(
    ("rule", "candidate", "decision"),
    [
        (OLD, measured(0.00989), Decision.IMPROVED),
        (OLD, measured(0.00995), Decision.KEPT_NOT_BETTER),
        (OLD, measured(0.005, betas=2.5), Decision.IMPROVED),
        (OLD, measured(0.005, betas=3.1), Decision.KEPT_BETAS_OUT_OF_RANGE),
        (OLD, measured(0.005, violation=0.02), Decision.KEPT_LIMITS),
        (PUBLISHED, measured(0.00999), Decision.IMPROVED),
        (PUBLISHED, measured(0.01), Decision.KEPT_NOT_BETTER),
        (PUBLISHED, measured(0.005, betas=2.5), Decision.KEPT_BETAS_OUT_OF_RANGE),
        (PUBLISHED, measured(0.005, violation=0.5), Decision.IMPROVED),
    ],
)
def test_the_lower_error_wins_within_the_gates(rule: ErrorRule, candidate: Measured, decision: Decision) -> None:
    has_parent = torch.ones(1, dtype=torch.bool)
    assert judge_by_error(measured(0.01), candidate, has_parent, SEEN, rule) == [decision]


def test_a_first_label_needs_a_small_error() -> None:
    before, nobody = measured(torch.nan), torch.zeros(1, dtype=torch.bool)
    assert judge_by_error(before, measured(0.04), nobody, SEEN, OLD) == [Decision.FIRST_LABEL]
    assert judge_by_error(before, measured(0.06), nobody, SEEN, OLD) == [Decision.NO_LABEL]


def test_the_fused_anchor_lies_between_by_precision() -> None:
    label, said = torch.zeros(1, 46).double(), torch.zeros(1, 46).double()
    said[0, 1], said[0, 6] = 0.4, 0.2
    std = torch.full((46,), 0.1).double()
    found = fused_anchor(label, said, std, torch.full((1, 46), 0.2).double())
    assert found[0, 6] == pytest.approx(0.04)
    assert found[0, 1] == pytest.approx(0.08, abs=1e-6)
    torch.testing.assert_close(fused_anchor(label, said, std, torch.full((1, 46), 1e-6).double()), said)
