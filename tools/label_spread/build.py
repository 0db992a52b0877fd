"""Build the factors of the labels' standard deviations: `python -m tools.label_spread.build` (ten minutes, one core).

By angle, the factor with which 90 % intervals hold 90 % of the truth of made people, with and without networks of
stated quality, after round 1 (docs/calibration.md). Seeds 0 to 2, which judge the factors, take no part.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from scipy.special import ndtri

from benchmarks.made.made_rounds import Case, made_rounds
from pipeline.labelling.label_spread import SPREAD_FILE, spread_factor
from schemas.skel import Q_NAMES, mirror_table

SEEDS: Final = (10, 11, 12)
CASES: Final = ("none", "truth:0.1", "garbage")
LEVEL: Final = 0.9


def factors(z: Float[np.ndarray, "N 46"]) -> Float[np.ndarray, "46"]:
    """From errors over the standard deviations without a factor: left and right together, never below 1.

    An interval that is too wide costs weight; one that is too narrow is believed where it should not be. So what is
    right with one network and too narrow with another is not narrowed.
    """
    source, _ = mirror_table()
    both = np.abs(np.concatenate([z, z[:, source]]))
    return np.maximum(np.quantile(both, LEVEL, axis=0) / ndtri((1 + LEVEL) / 2), 1.0)


def _measured(people: int, seeds: Sequence[int]) -> Iterator[Float[np.ndarray, "N 46"]]:
    for seed in seeds:
        with made_rounds(people, seed, betas_noise=0.0) as made:
            zero = made.zero()
            for case in CASES:
                for _, labels in made.rounds(Case.of(case), 1, zero):
                    known = made.against_truth(pa.concat_tables(labels))
                    yield known.error * spread_factor() / known.std


def _write(path: Path, factor: Float[np.ndarray, "46"], about: dict[str, Any]) -> None:
    """A line an angle."""
    lines = ",\n".join(f"  {json.dumps(name)}: {round(float(x), 2)}" for name, x in zip(Q_NAMES, factor, strict=True))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(f'{{\n"about": {json.dumps(about)},\n"factors": {{\n{lines}\n}}\n}}\n', encoding="utf-8")
    os.replace(temporary, path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=240, help="of each seed (default 240)")
    parser.add_argument("--output", type=Path, default=SPREAD_FILE)
    arguments = parser.parse_args()
    z = np.concatenate(list(_measured(arguments.people, SEEDS)))
    about = {"seeds": SEEDS, "people": arguments.people, "networks": CASES, "round": 1, "level": LEVEL}
    _write(arguments.output, factors(z), about)
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
