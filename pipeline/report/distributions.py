"""The chapters of distributions: measures of labels and of their shapes, and joint angles within their limits."""

import math
from typing import Final

import numpy as np
from jaxtyping import Float64

from pipeline.report.charts import AFTER, BEFORE, Chart, Series, bars, distribution, ranges
from pipeline.report.figures import BETAS_HIGH, SCALE_ROW, SCALES, LabelFigures, Scale
from pipeline.report.histogram import Histograms
from pipeline.report.measuring import Measured
from pipeline.report.page import Cell, PageTable, Section
from schemas.skel import N_BETAS, N_UNLIMITED, Q_NAMES, q_limits

_BINS: Final = 40
_SHOWN_SHARE: Final = 0.99  # of people: a single outlier would press all others into the first bin
_FROM_ZERO_BELOW: Final = 0.4  # of the upper end: what starts there or lower is shown from zero on
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)

Pair = list[tuple[str, str, LabelFigures]]
"""(name, role, figures) of what a chart shows: before and after, or the new generation alone."""


def generations(measured: Measured, round: int, against: int | None) -> Pair:
    """The generations of a report, the older first."""
    found: Pair = []
    if measured.everyone_before is not None:
        found.append((f"round {against}", BEFORE, measured.everyone_before))
    if measured.everyone is not None:
        found.append((f"round {round}", AFTER, measured.everyone))
    return found


def distribution_section(measured: Measured, round: int, against: int | None) -> Section | None:
    """2D error, evidence, spread, shape and camera of the labels; None without labels."""
    pair = generations(measured, round, against)
    charts = [chart for scale in SCALES if (chart := _scale_chart(scale, pair)) is not None]
    if (evidence := _evidence_chart(pair)) is not None:
        charts.insert(min(2, len(charts)), evidence)
    if measured.every_change is not None and measured.every_change.people:
        charts.append(_histogram("how far the joints moved, mean over the 46", "degrees",
                                 [("both rounds", AFTER, measured.every_change.turned)]))  # fmt: skip
    charts += [_betas_chart(pair, beta) for beta in range(N_BETAS) if any(item.labelled for _, _, item in pair)]
    if not charts:
        return None
    text = "Shares of the labels; the last step of a chart holds whatever lies beyond it."
    return Section(title="Distributions", text=(text,), charts=tuple(charts))


def joint_section(measured: Measured, round: int, against: int | None) -> Section | None:
    """Joint angles in their ranges, means before and after, and labels beyond a limit; None without labels."""
    pair = [item for item in generations(measured, round, against) if item[2].labelled]
    if not pair:
        return None
    low, high = (np.degrees(limit) for limit in q_limits())
    limited = range(N_UNLIMITED, len(Q_NAMES))
    shares = []
    for name, role, figures in pair:
        rows = [
            [100 * (_q(figures.q, share, j) - low[j]) / (high[j] - low[j]) for share in _QUANTILES] for j in limited
        ]
        shares.append((name, role, np.array(rows)))
    box = ranges(
        "Joint angles in their ranges",
        [Q_NAMES[j] for j in limited],
        shares,
        unit="% of the way from the lower to the upper limit",
        low=-10,
        high=110,
        note="Boxes hold the middle half of the labels, whiskers reach from p05 to p95.",
    )
    charts: list[Chart] = [box]
    broken = [j for j in limited if any(figures.outside[j] for _, _, figures in pair)]
    if broken:
        series = [(name, role, [float(figures.outside[j]) for j in broken]) for name, role, figures in pair]
        charts.append(bars("Labels beyond a limit, by joint", [Q_NAMES[j] for j in broken], series))
    text = () if broken else ("No label is beyond a limit of any joint.",)
    return Section(title="Joints", text=text, charts=tuple(charts), tables=(_joint_table(measured, pair),))


def _q(q: Histograms, share: float, joint: int) -> float:
    value = q.quantile(share, joint)
    return 0.0 if value is None else value


def _joint_table(measured: Measured, pair: Pair) -> PageTable:
    low, high = (np.degrees(limit) for limit in q_limits())
    changes = measured.every_change
    rows: list[list[Cell]] = []
    for joint, name in enumerate(Q_NAMES):
        row: list[Cell] = [name]
        row += [None, None] if joint < N_UNLIMITED else [round(float(low[joint]), 1), round(float(high[joint]), 1)]
        for _, _, figures in pair:
            mean = None if joint < N_UNLIMITED else figures.q.mean(joint)  # of a full turn there is none
            row += [_rounded(mean), _rounded(figures.q.quantile(0.05, joint)),
                    _rounded(figures.q.quantile(0.95, joint)), int(figures.outside[joint]),
                    _rounded(float(figures.worst_deg[joint]))]  # fmt: skip
        if changes is not None:
            row.append(_rounded(float(changes.q_sums[joint]) / changes.people) if changes.people else None)
        rows.append(row)
    columns = ["joint angle", "lower limit", "upper limit"]
    for name, _, _ in pair:
        columns += [f"{name}: mean", "p05", "p95", "beyond a limit", "by up to"]
    if changes is not None:
        columns.append("mean change of the same people")
    return PageTable(title="Joint angles, degrees", columns=tuple(columns), rows=rows)


def _scale_chart(scale: Scale, pair: Pair) -> Chart | None:
    if scale.name == "parent_energy":
        return None  # with the energy of the label, by `_evidence_chart`
    if scale.name == "energy" and _has_parent_energy(pair):
        return None
    row = SCALE_ROW[scale.name]
    found = [(name, role, figures.scalars) for name, role, figures in pair if figures.scalars.people(row)]
    return _histogram(scale.title, scale.unit, found, row) if found else None


def _evidence_chart(pair: Pair) -> Chart | None:
    """Energies of two rounds do not compare: what does is the parent's, given the evidence of the new round."""
    if not _has_parent_energy(pair):
        return None
    _, _, new = pair[-1]
    edges = _edges([(new.scalars, SCALE_ROW[column]) for column in ("energy", "parent_energy")])
    series = [
        Series(name=name, role=role, counts=new.scalars.coarse(edges, SCALE_ROW[column]))
        for name, role, column in (("parent's label", BEFORE, "parent_energy"), ("label", AFTER, "energy"))
    ]
    return distribution("energy, both given this round's evidence", SCALES[SCALE_ROW["energy"]].unit, edges, series)


def _has_parent_energy(pair: Pair) -> bool:
    return bool(pair) and pair[-1][2].scalars.people(SCALE_ROW["parent_energy"]) > 0


def _histogram(title: str, unit: str, found: list[tuple[str, str, Histograms]], row: int = 0) -> Chart:
    edges = _edges([(item, row) for _, _, item in found])
    series = [Series(name=name, role=role, counts=item.coarse(edges, row)) for name, role, item in found]
    return distribution(title, unit, edges, series)


def _edges(shown: list[tuple[Histograms, int]]) -> Float64[np.ndarray, "edges"]:
    """Of _BINS steps that hold nearly all of these rows of histograms, each as wide as some whole fine bins."""
    item, row = shown[0]
    fine = (item.high[row] - item.low[row]) / item.counts.shape[1]
    lowest = min(item.quantile(1 - _SHOWN_SHARE, row) or 0.0 for item, row in shown)
    highest = max(item.quantile(_SHOWN_SHARE, row) or 0.0 for item, row in shown)
    first = int(lowest / fine) if lowest > _FROM_ZERO_BELOW * highest else 0
    width = max(1, math.ceil((highest / fine - first) / _BINS))
    return (first + width * np.arange(_BINS + 1)) * fine


def _betas_chart(pair: Pair, beta: int) -> Chart:
    found = [item for item in pair if item[2].labelled]
    edges = np.linspace(-BETAS_HIGH, BETAS_HIGH, _BINS + 1)
    series = [Series(name=name, role=role, counts=item.betas.coarse(edges, beta)) for name, role, item in found]
    return distribution(f"beta {beta}", "standard deviations", edges, series)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
