"""The charts of a report, as options of ECharts without colours: those are the page's, by day and by night."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int64

BEFORE: Final = "before"
AFTER: Final = "after"

_ROW_PX: Final = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """roles: BEFORE or AFTER of each series, by which the page colours it alike in all charts; empty: each its own.
    option: of ECharts, plain JSON values. height in px.
    """

    title: str
    option: Mapping[str, Any]
    roles: tuple[str, ...] = ()
    note: str = ""
    height: int = 230
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A named distribution: people in each bin. role: BEFORE or AFTER."""

    name: str
    role: str
    counts: Int64[np.ndarray, "bins"] = field(repr=False)


def distribution(title: str, unit: str, edges: Float[np.ndarray, "edges"], series: Sequence[Series]) -> Chart:
    """Shares of people over a measure, as steps; the end bins hold what lies beyond them."""
    drawn = []
    for item in series:
        shares = 100 * item.counts / max(int(item.counts.sum()), 1)
        points = [[_plain(x), round(float(y), 4)] for x, y in zip(edges, [*shares, shares[-1]], strict=True)]
        drawn.append(
            {
                "type": "line", "name": item.name, "step": "end", "symbol": "none", "data": points,
                "lineStyle": {"width": 1.5}, "areaStyle": {"opacity": 0.14},
            }
        )  # fmt: skip
    option = _frame(legend=len(drawn) > 1) | {
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "value", "min": _plain(edges[0]), "max": _plain(edges[-1]), "name": unit,
            "nameLocation": "middle", "nameGap": 22, "axisLabel": {"hideOverlap": True},
        },
        "yAxis": {"type": "value", "axisLabel": {"formatter": "{value} %"}, "splitNumber": 3},
        "series": drawn,
    }  # fmt: skip
    return Chart(title=title, option=option, roles=tuple(item.role for item in series))


def bars(title: str, names: Sequence[str], series: Sequence[tuple[str, str, Sequence[float]]], *, note: str = "",
         digits: int = 0) -> Chart:  # fmt: skip
    """Lying bars, one group for each name from the top; series: (name, role, one value for each name)."""
    drawn = [
        {"type": "bar", "name": name, "data": [round(float(value), digits) for value in values], "barMaxWidth": 14}
        for name, _, values in series
    ]
    option = _frame(legend=len(drawn) > 1, named=False) | {
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {"type": "value", "splitNumber": 3, "axisLabel": {"hideOverlap": True}},
        "yAxis": _named_rows(names),
        "series": drawn,
    }
    height = 60 + (_ROW_PX + 7 * (len(drawn) - 1)) * len(names)
    return Chart(title=title, option=option, roles=tuple(role for _, role, _ in series), note=note, height=height)


def ranges(title: str, names: Sequence[str], series: Sequence[tuple[str, str, Float[np.ndarray, "names 5"]]],
           *, unit: str, low: float, high: float, note: str = "") -> Chart:  # fmt: skip
    """Where most values of each name lie: boxes from the 5 quantiles p05, p25, p50, p75, p95 of each; the last two of
    `unit`, low and high are those of the axis.
    """
    drawn = [
        {
            "type": "boxplot", "name": name, "boxWidth": [3, 7], "itemStyle": {"borderWidth": 1.2},
            "data": [[round(float(value), 2) for value in row] for row in quantiles],
        }
        for name, _, quantiles in series
    ]  # fmt: skip
    option = _frame(legend=len(drawn) > 1) | {
        "tooltip": {"trigger": "item"},
        "xAxis": {"type": "value", "min": low, "max": high, "name": unit, "nameLocation": "middle", "nameGap": 22},
        "yAxis": _named_rows(names),
        "series": drawn,
    }
    roles = tuple(role for _, role, _ in series)
    return Chart(title=title, option=option, roles=roles, note=note, height=90 + _ROW_PX * len(names), wide=True)


def curves(title: str, x_name: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, note: str = "") -> Chart:
    """Lines through points (x, y)."""
    drawn = [
        {"type": "line", "name": name, "symbol": "none" if len(points) > 40 else "circle", "symbolSize": 4,
         "data": [[_plain(x), _plain(y)] for x, y in points], "lineStyle": {"width": 1.5}}
        for name, points in lines.items()
    ]  # fmt: skip
    option = _frame(legend=len(drawn) > 1) | {
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "value", "name": x_name, "nameLocation": "middle", "nameGap": 22, "min": "dataMin",
                  "max": "dataMax", "axisLabel": {"hideOverlap": True}},
        "yAxis": {"type": "value", "scale": True, "splitNumber": 3},
        "series": drawn,
    }  # fmt: skip
    return Chart(title=title, option=option, roles=(AFTER,) if len(drawn) == 1 else (), note=note)


def _frame(*, legend: bool, named: bool = True) -> dict[str, Any]:
    """What every chart has: no animation, which prints half-drawn, and the grid inside its box."""
    frame: dict[str, Any] = {
        "animation": False,
        "grid": {
            "left": 8,
            "right": 18,
            "top": 34 if legend else 14,
            "bottom": 24 if named else 4,
            "containLabel": True,
        },
    }
    return frame | ({"legend": {"top": 0, "left": 0, "itemWidth": 14, "itemHeight": 8}} if legend else {})


def _named_rows(names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "category", "data": list(names), "inverse": True, "axisTick": {"show": False},
        "axisLabel": {"interval": 0, "width": 150, "overflow": "truncate"},
    }  # fmt: skip


def _plain(value: float) -> float:
    """Of six digits: a curve of thousands of points is read by nobody to the last bit."""
    return float(f"{float(value):.6g}")
