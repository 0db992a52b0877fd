"""`calibration`: do the labels' standard deviations tell the truth? By group of angles and network; nothing is trained.

q_std is judged against the known truth of made people: do its intervals hold what they say, does it beat one standard
deviation for everyone, and does it tell who is wrong? (docs/calibration.md)
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.calibration_plot import draw
from benchmarks.made.made_rounds import PEOPLE, ROUNDS, Case, made_rounds
from benchmarks.report import Options, say, table
from pipeline.numerics.calibration import (
    LEFT_OUT,
    PerPerson,
    area_between_sparsifications,
    coverage,
    error_by_bin,
    gaussian_nll,
    mean_square_z,
    rank_correlation,
    sparsification,
)
from schemas.skel import N_Q, N_UNLIMITED, Q_NAMES

LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DEFAULT: Final = ("none", "truth:0.1", "garbage")
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "pelvis": ("pelvis",),
    "hip": ("hip",),
    "knee": ("knee",),
    "ankle, foot": ("ankle", "subtalar", "mtp"),
    "lumbar": ("lumbar",),
    "thorax": ("thorax",),
    "head": ("head",),
    "scapula": ("scapula",),
    "shoulder": ("shoulder",),
    "elbow": ("elbow",),
    "forearm": ("pro_sup",),
    "wrist": ("wrist",),
}
LIMITED: Final = "all limited"
GROUPS: Final[Mapping[str, list[int]]] = {
    LIMITED: list(range(N_UNLIMITED, N_Q)),
    **{group: [i for i, name in enumerate(Q_NAMES) if name.startswith(part)] for group, part in _PARTS.items()},
}
"""Left and right together; the pelvis by its three Euler angles, which are no group of limited ones."""


def run(options: Options) -> None:
    """Print, draw to --plot and write to --json how well q_std is calibrated, by predictor, round and group."""
    people, rounds = (24, 1) if options.quick else (options.people or PEOPLE, options.rounds or ROUNDS)
    cases = [Case.of(text) for text in options.predictor or (DEFAULT[:2] if options.quick else DEFAULT)]
    say(f"{people} people of seed {options.seed}; the predictors' betas are off by {options.betas_noise:g}.")
    rows: list[dict[str, Any]] = []
    with made_rounds(people, options.seed, options.betas_noise) as made:
        zero = made.zero()
        for case in cases:
            for number, labels in made.rounds(case, rounds, zero):
                whole = pa.concat_tables(labels)
                known, hidden = made.against_truth(whole), _hidden(whole)
                rows += [
                    {"predictor": case.kind, "noise": case.noise, "seed": options.seed, "round": number, "group": group}
                    | hidden
                    | judged(known.error[:, angles], known.std[:, angles])
                    for group, angles in GROUPS.items()
                ]
    _print(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.plot is not None:
        draw([row for row in rows if row["group"] == LIMITED], options.plot)


def judged(error: PerPerson, std: PerPerson) -> dict[str, Any]:
    """Figures of some angles, each by itself, then the mean over them; errors by decile as root mean squares, rad.

    nll_constant: of one standard deviation for everyone, the root mean square of these very errors, which a round
    could not know. ause_blind: area between the best curve and that of an order at random.
    """
    constant = np.broadcast_to(np.sqrt(np.square(error).mean(0)), error.shape)
    deciles = error_by_bin(error, std)
    curves = sparsification(error, std), sparsification(error, np.abs(error) + np.finfo(np.float64).tiny)
    mean = np.abs(error).mean(0)
    return {
        "people": len(error),
        "coverage_50": float(coverage(error, std, 0.5).mean()),
        "coverage_90": float(coverage(error, std, 0.9).mean()),
        "mean_square_z": float(mean_square_z(error, std).mean()),
        "nll": float(gaussian_nll(error, std).mean()),
        "nll_constant": float(gaussian_nll(error, constant).mean()),
        "rank": float(rank_correlation(error, std).mean()),
        "ause": float(area_between_sparsifications(error, std).mean()),
        "ause_blind": float((1 - curves[1] / mean).mean()),
        "levels": LEVELS,
        "coverage": [float(coverage(error, std, level).mean()) for level in LEVELS],
        "expected_rad": np.sqrt(np.square(deciles.expected).mean(1)).tolist(),
        "observed_rad": np.sqrt(np.square(deciles.observed).mean(1)).tolist(),
        "left": (curves[0] / mean).mean(1).tolist(),
        "left_at_best": (curves[1] / mean).mean(1).tolist(),
    }


def _hidden(labels: pa.Table) -> dict[str, Any]:
    """Of the people with hidden keypoints: how many they are, and the mean shares of those inside their regions."""
    held = {name: labels[f"kp2d_heldout_{name}"].drop_null().to_numpy() for name in ("in_50", "in_90")}
    means = {f"heldout_{name}": float(values.mean()) if len(values) else None for name, values in held.items()}
    return {"heldout_people": len(held["in_50"]), **means}


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    names = ("coverage_50", "coverage_90", "mean_square_z", "nll", "nll_constant", "rank", "ause", "ause_blind")
    headings = ("50 % holds", "90 % holds", "mean z^2", "NLL", "NLL, one std", "rank", "AUSE", "blind")
    table(
        ("predictor", "s", "round", "angles", *headings),
        [[*_of(row), row["group"], *(f"{row[name]:.2f}" for name in names)] for row in rows],
    )
    say("one std: for everyone, the root mean square of these errors. rank: correlation of q_std and |error|.")
    say("AUSE: area between the curve below and the best one, over the mean error; blind: of an order at random.")
    whole = [row for row in rows if row["group"] == LIMITED]
    say("Hidden keypoints inside the regions that should hold 50 and 90 % of them:")
    table(
        ("predictor", "s", "round", "people", "50 % holds", "90 % holds"),
        [
            [*_of(row), str(row["heldout_people"]), *map(_share, (row["heldout_in_50"], row["heldout_in_90"]))]
            for row in whole
        ],
    )
    say("Expected / observed error by decile of q_std, rad, limited angles:")
    table(
        ("predictor", "s", "round", *map(str, range(1, 11))),
        [[*_of(row), *_pairs(row["expected_rad"], row["observed_rad"])] for row in whole],
    )
    say("Mean error of who is left, of everyone's, without the share with the largest q_std / the largest error:")
    table(
        ("predictor", "s", "round", *(f"{share:.0%}" for share in LEFT_OUT[1:])),
        [[*_of(row), *_pairs(row["left"][1:], row["left_at_best"][1:])] for row in whole],
    )


def _of(row: Mapping[str, Any]) -> list[str]:
    return [row["predictor"], f"{row['noise']:g}", str(row["round"])]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.2f}"


def _pairs(ours: Sequence[float], other: Sequence[float]) -> list[str]:
    return [f"{a:.2f}/{b:.2f}" for a, b in zip(ours, other, strict=True)]
