"""The picture of `calibration`: what intervals hold, errors by decile, and what is left without the unsurest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.numerics.calibration import LEFT_OUT

_DOTS_PER_INCH = 110


def draw(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A PNG with a line for the last round of each predictor; rows: those of `calibration` for one group of angles.

    Raises RuntimeError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError("--plot needs matplotlib: make setup, or pip install matplotlib.") from error
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    held, deciles, left = figure.subplots(1, 3)
    for number, (name, row) in enumerate(_last_rounds(rows).items()):
        colour = f"C{number}"
        held.plot(row["levels"], row["coverage"], "o-", color=colour, label=name)
        deciles.plot(row["expected_rad"], row["observed_rad"], "o-", color=colour)
        left.plot(LEFT_OUT, row["left"], "o-", color=colour)
        left.plot(LEFT_OUT, row["left_at_best"], ":", color=colour)
    held.plot([0, 1], [0, 1], "k--", linewidth=0.8)
    most = max(max(row[name]) for row in rows for name in ("expected_rad", "observed_rad"))
    deciles.plot([0, most], [0, most], "k--", linewidth=0.8)
    held.set(title="Intervals hold what they say", xlabel="stated", ylabel="share of the truth held")
    held.legend()
    deciles.set(title="Error by decile of q_std, rad", xlabel="expected", ylabel="observed")
    left.set(title="Without the unsurest (dotted: the worst)", xlabel="share left out", ylabel="mean error left")
    figure.savefig(file, dpi=_DOTS_PER_INCH)


def _last_rounds(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By name; rows come in the order of rounds."""
    last = {(row["predictor"], row["noise"]): row for row in rows}
    return {f"{kind} {noise:g}, round {row['round']}": row for (kind, noise), row in last.items()}
