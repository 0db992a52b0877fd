"""Plots of `truth-loop`: errors by round, a colour for each arm, seeds as thin lines and their mean as a thick one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.loops.truth_rows import Row

MEASURES: Final = {
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "mpvpe_mm": "MPVPE, mm",
    "kp2d_heldout_px": "error on hidden keypoints, px",
}
POSES: Final = ("all", "standard", "extreme")


def plot_rows(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write labels.png and network.png into the folder: a row of panels for each measure, a column for each kind of
    pose.
    """
    import matplotlib as mpl  # here: whoever asks for no plots need not wait for it

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for whose in ("labels", "network"):
        figure, panels = plt.subplots(len(MEASURES), len(POSES), figsize=(13, 14), sharey="row", squeeze=False)
        for line, (measure, name) in enumerate(MEASURES.items()):
            for column, poses in enumerate(POSES):
                panel = panels[line, column]
                _draw(panel, [row for row in rows if (row["whose"], row["poses"]) == (whose, poses)], measure)
                panel.set(title=f"{whose}, {poses} poses", ylabel=name if column == 0 else "")
        lines, names = panels[0, 0].get_legend_handles_labels()
        figure.supxlabel("round" if whose == "labels" else "round whose labels it was trained on")
        figure.legend(lines, names, loc="upper center", ncols=max(1, len(names)))
        figure.tight_layout(rect=(0, 0, 1, 0.97))
        files.append(folder / f"{whose}.png")
        figure.savefig(files[-1], dpi=110)
        plt.close(figure)
    return files


def _draw(panel, rows: Sequence[Row], measure: str) -> None:
    for colour, arm in enumerate(dict.fromkeys(str(row["arm"]) for row in rows)):
        of_arm = [row for row in rows if row["arm"] == arm]
        by_seed = {row["seed"]: _curve([r for r in of_arm if r["seed"] == row["seed"]], measure) for row in of_arm}
        for rounds, values in by_seed.values():
            panel.plot(rounds, values, color=f"C{colour}", linewidth=0.7, alpha=0.6)
        rounds, values = (np.array(x) for x in zip(*by_seed.values(), strict=True))
        panel.plot(rounds[0], values.mean(0), color=f"C{colour}", linewidth=2.5, marker="o", label=arm)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.grid(alpha=0.3)


def _curve(rows: Sequence[Row], measure: str) -> tuple[list[float], list[float]]:
    """Rounds and values; NaN where nobody was measured."""
    ordered = sorted(rows, key=lambda row: float(str(row["round"])))
    known = [np.nan if row[measure] is None else float(str(row[measure])) for row in ordered]
    return [float(str(row["round"])) for row in ordered], known
