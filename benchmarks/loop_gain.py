"""`loop-gain`: what labels gain from a network of stated quality, round by round; nothing is trained."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.stats import spearmanr

from benchmarks.made.predictors import DEFAULT_NOISE, MadePredictor, Rows
from benchmarks.report import Options, say, table
from pipeline.body.rotations import wrapped
from pipeline.demo_set import DemoSet, label_errors, make_demo_set, mean_label_errors
from pipeline.image.crop import CROP_PX
from pipeline.lenses.known_lens import KnownLenses
from pipeline.numerics.calibration import coverage
from pipeline.render.label_overlay import labels_by_person
from pipeline.rounds.actor import load_models
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardTask, process_shard
from pipeline.shards import list_shards
from schemas.labels import IDENTITY_COLUMNS, LABEL_SCHEMA
from schemas.person import PersonId
from schemas.skel import N_UNLIMITED

NONE: Final = "none"
ALL: Final = (
    "none", "truth:0", "truth:0.05", "truth:0.1", "truth:0.2", "joints:0.1", "garbage", "lazy", "memorised", "biased",
    "dishonest",
)  # fmt: skip
_LEVEL: Final = 0.9
_FEWEST: Final = 10  # people, for a rank correlation


class _Case(NamedTuple):
    kind: str
    noise: float


class _Made(NamedTuple):
    data: DemoSet
    truth: pa.Table
    models: Models
    config: RoundConfig


def run(options: Options) -> None:
    """Print, and write to --json, the labels' errors to the truth by predictor and round."""
    people, rounds = (24, 1) if options.quick else (options.people, options.rounds)
    cases = [_case(text) for text in options.predictor or (("none", "truth:0.1") if options.quick else ALL)]
    say(f"{people} people of seed {options.seed}; the predictors' betas are off by {options.betas_noise:g}.")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = make_demo_set(Path(folder) / "demo", people=people, shards=4, seed=options.seed)
        config = RoundConfig()
        made = _Made(data, pq.read_table(data.truth_path), load_models(config, "cpu", KnownLenses(), None), config)
        zero = _round(made, 0, None, made.models)
        rows.append(_row(_Case("labels", 0.0), 0, zero, made))
        for case in cases:
            rows += _rounds(case, rounds, zero, made, options)
    _print(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _case(text: str) -> _Case:
    """Of KIND or KIND:s. Raises ValueError, listing the kinds."""
    found = re.fullmatch(r"(\w+)(?::([0-9.]+))?", text)
    kind = found[1] if found else ""
    if not found or kind not in {NONE, *DEFAULT_NOISE}:
        raise ValueError(f"--predictor {text}: KIND or KIND:s expected, KIND one of none, {', '.join(DEFAULT_NOISE)}.")
    return _Case(kind, float(found[2]) if found[2] else DEFAULT_NOISE.get(kind, 0.0))


def _rounds(
    case: _Case, rounds: int, zero: Sequence[pa.Table], made: _Made, options: Options
) -> Iterator[dict[str, object]]:
    models, predictor, labels = made.models, None, zero
    if case.kind != NONE:
        truth = labels_by_person(made.truth)
        predictor = MadePredictor(case.kind, case.noise, truth, options.seed, options.betas_noise)
        models = replace(models, predictor=predictor)
    for number in range(1, rounds + 1):
        if predictor is not None:
            predictor.round, predictor.labels = number, labels_by_person(pa.concat_tables(labels))
        labels = _round(made, number, labels, models)
        yield _row(case, number, labels, made)


def _round(made: _Made, number: int, parents: Sequence[pa.Table] | None, models: Models) -> list[pa.Table]:
    shards = list_shards(made.data.shard_pattern)
    before = parents or [LABEL_SCHEMA.empty_table()] * len(shards)
    return [
        process_shard(
            ShardTask(dataset=shard.dataset, shard=shard.shard, source=shard), number, parent, models, made.config
        ).table
        for shard, parent in zip(shards, before, strict=True)
    ]


def _row(case: _Case, number: int, labels: Sequence[pa.Table], made: _Made) -> dict[str, object]:
    """Means over the labelled; betas: mean difference; coverage: of 90 % intervals of the limited angles."""
    skel, whole = made.models.skelify.model, pa.concat_tables(labels)
    person_errors = label_errors(whole, made.truth, skel)
    errors = mean_label_errors([person_errors])[0]
    hidden = whole["kp2d_heldout_error"].drop_null().to_numpy()
    return {
        "predictor": case.kind,
        "noise": case.noise,
        "round": number,
        "mpjpe_mm": errors["mpjpe_mm"],
        "pa_mpjpe_mm": errors["pa_mpjpe_mm"],
        "mpvpe_mm": errors["mpvpe_mm"],
        "kp2d_px": errors["kp2d_error_px"],
        "kp2d_heldout_px": float(hidden.mean() * CROP_PX) if len(hidden) else None,
        "people": errors["people"],
        **_against(whole, made.truth),
        **_rank_correlations(whole, person_errors),
    }


def _rank_correlations(labels: pa.Table, errors: pa.Table) -> dict[str, float | None]:
    """Spearman's correlation with MPJPE of what a round knows without the truth; None where it knows nothing."""
    found = labels_by_person(labels)
    people = [PersonId(*row) for row in zip(*(errors[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True)]
    mpjpe = errors["mpjpe_mm"].to_numpy()
    known = {
        "kp2d": lambda row: row["kp2d_error"],
        "heldout": lambda row: row["kp2d_heldout_error"],
        "energy": lambda row: row["energy"],
        "q_std": lambda row: float(np.mean(row["q_std"])),
        "disagreement": _disagreement,
    }
    correlations: dict[str, float | None] = {}
    for name, read in known.items():
        values = np.array([np.nan if (x := read(found[person])) is None else x for person in people], float)
        there = np.isfinite(values)
        enough = there.sum() >= _FEWEST and np.ptp(values[there]) > 0
        correlations[f"rank_{name}"] = float(spearmanr(values[there], mpjpe[there])[0]) if enough else None
    return correlations


def _disagreement(row: Mapping[str, Any]) -> float | None:
    """Root mean square difference of the limited angles to what a network says, rad."""
    if not any(row["prediction_q_std"]):
        return None
    away = (np.array(row["q"]) - np.array(row["prediction_q"]))[N_UNLIMITED:]
    return float(wrapped(torch.from_numpy(away)).square().mean().sqrt())


def _against(labels: pa.Table, truth: pa.Table) -> dict[str, float]:
    true, found = labels_by_person(truth), labels_by_person(labels)

    def stacked(name: str, of: Rows, who: Sequence[PersonId]) -> np.ndarray:
        return np.array([of[person][name] for person in who])

    who = [person for person in found if person in true]
    turn = wrapped(torch.from_numpy(stacked("q", found, who) - stacked("q", true, who))).numpy()
    std = stacked("q_std", found, who)
    betas = np.abs(stacked("betas", found, who) - stacked("betas", true, who)).mean()
    covered = coverage(turn[:, N_UNLIMITED:], std[:, N_UNLIMITED:], _LEVEL).mean()
    return {"betas": float(betas), "coverage_90": float(covered)}


def _print(rows: Sequence[dict[str, object]]) -> None:
    columns = ("predictor", "s", "round", "MPJPE mm", "PA", "MPVPE", "kp2d px", "held out px", "|dbeta|", "90 % holds")
    names = ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_px", "kp2d_heldout_px", "betas", "coverage_90")
    shown = [
        [
            str(row["predictor"]),
            f"{row['noise']:g}",
            str(row["round"]),
            *("" if row[name] is None else f"{row[name]:.2f}" for name in names),
        ]
        for row in rows
    ]
    table(columns, shown)
    say("held out px: on keypoints that a second fit of one person in twenty did not see.")
    ranks = ("rank_kp2d", "rank_heldout", "rank_energy", "rank_q_std", "rank_disagreement")
    told = [
        [*cells[:3], *("" if row[n] is None else f"{row[n]:.2f}" for n in ranks)]
        for cells, row in zip(shown, rows, strict=True)
    ]
    say("Rank correlation with MPJPE of what is known without the truth:")
    table(("predictor", "s", "round", "kp2d", "held out", "energy", "q_std", "disagreement"), told)
