"""`loop-gain`: what labels gain from a network of stated quality, round by round; nothing is trained."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.made.known_without_truth import rank_correlations
from benchmarks.made.made_rounds import PEOPLE, ROUNDS, Case, MadeRounds, made_rounds
from benchmarks.report import Options, say, table
from pipeline.demo_set import label_errors, mean_label_errors
from pipeline.image.crop import CROP_PX
from pipeline.numerics.calibration import coverage
from pipeline.render.label_overlay import labels_by_person
from schemas.skel import N_UNLIMITED

ALL: Final = (
    "none", "truth:0", "truth:0.05", "truth:0.1", "truth:0.2", "joints:0.1", "garbage", "lazy", "memorised", "biased",
    "dishonest",
)  # fmt: skip
_LEVEL: Final = 0.9
_RANKS: Final[Mapping[str, str]] = {
    "rank_kp2d": "kp2d",
    "rank_heldout": "held out",
    "rank_energy": "energy",
    "rank_prior": "pose prior",
    "rank_q_std": "q_std",
    "rank_disagreement": "apart, q",
    "rank_disagreement_mm": "apart, mm",
}
"""Key of a row -> heading of the table."""


def run(options: Options) -> None:
    """Print, and write to --json, the labels' errors to the truth by predictor and round."""
    people, rounds = (24, 1) if options.quick else (options.people or PEOPLE, options.rounds or ROUNDS)
    cases = [Case.of(text) for text in options.predictor or (("none", "truth:0.1") if options.quick else ALL)]
    say(f"{people} people of seed {options.seed}; the predictors' betas are off by {options.betas_noise:g}.")
    rows: list[dict[str, object]] = []
    with made_rounds(people, options.seed, options.betas_noise) as made:
        zero = made.zero()
        rows.append(_row(Case("labels", 0.0), 0, zero, made))
        for case in cases:
            rows += [_row(case, number, labels, made) for number, labels in made.rounds(case, rounds, zero)]
    _print(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _row(case: Case, number: int, labels: Sequence[pa.Table], made: MadeRounds) -> dict[str, object]:
    """Means over the labelled; betas: mean difference; coverage: of 90 % intervals of the limited angles."""
    whole = pa.concat_tables(labels)
    person_errors = label_errors(whole, made.truth, made.skel)
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
        **_against(whole, made),
        **rank_correlations(whole, person_errors, made.skel),
    }


def _against(labels: pa.Table, made: MadeRounds) -> dict[str, float]:
    known, found, true = made.against_truth(labels), labels_by_person(labels), labels_by_person(made.truth)
    betas = [np.subtract(found[person]["betas"], true[person]["betas"]) for person in known.who]
    covered = coverage(known.error[:, N_UNLIMITED:], known.std[:, N_UNLIMITED:], _LEVEL).mean()
    return {"betas": float(np.abs(betas).mean()), "coverage_90": float(covered)}


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
    told = [
        [*cells[:3], *("" if row[n] is None else f"{row[n]:.2f}" for n in _RANKS)]
        for cells, row in zip(shown, rows, strict=True)
    ]
    say("Rank correlation with MPJPE of what is known without the truth:")
    table(("predictor", "s", "round", *_RANKS.values()), told)
    say("pose prior: energy of the mixture of poses. apart: from the believed prediction, rad and mm of joints.")
