"""What a round did, as a table: accepted, kept and why, rejected and why, errors before and after."""

from rich import box
from rich.table import Table

from pipeline.image.crop import CROP_PX
from pipeline.labels import LabelStore
from pipeline.rounds.driver import RoundResult
from schemas.labels import Decision
from schemas.person import REPAIRS, RejectionReason

_BY_DECISION = """
    SELECT decision, count(*), median(parent_kp2d_error), median(kp2d_error), median(pve_mean_mm)
    FROM labels GROUP BY decision
"""

_MEANING = {
    Decision.CONVERTED: "converted from SMPL",
    Decision.CONVERTED_POOR_FIT: "converted from SMPL, flagged: poor fit",
    Decision.IMPROVED: "a better label replaced the old one",
    Decision.FIRST_LABEL: "first label of a person without one",
    Decision.KEPT_NOT_BETTER: "kept: the new label is not better",
    Decision.KEPT_BETAS_OUT_OF_RANGE: "kept: the new shape is out of range",
    Decision.KEPT_LIMITS: "kept: the new pose breaks joint limits",
    Decision.KEPT_NOT_FINITE: "kept: the new label is not finite",
    Decision.KEPT_TOO_FEW_KEYPOINTS: "kept: too few confident keypoints",
    Decision.KEPT_GROSS_MISFIT: "kept: the new label is far from the keypoints",
    Decision.KEPT_FAR_FROM_SMPL: "kept: the new label is far from SMPL",
    Decision.KEPT_UNREADABLE: "kept: the person cannot be read",
    Decision.NO_LABEL: "no label",
    Decision.IMPORTED: "imported as it was",
    Decision.KEPT_NOT_IMPORTED: "kept: there is none to import",
    Decision.REFUSED_NOT_FINITE: "no label: the imported one is not finite",
    Decision.REFUSED_BETAS_OUT_OF_RANGE: "no label: the imported shape is out of range",
    Decision.REFUSED_FAR_FROM_SMPL: "no label: the imported one is far from SMPL",
    Decision.REFUSED_AS_FIRST_LABEL: "no label: the imported one is not good enough",
}


def summary_table(store: LabelStore, result: RoundResult) -> Table:
    """The published generation by decision, then what was rejected."""
    generation = result.generation
    title = f"Round {generation.round}: {generation.rows} people, run {generation.run_id}"
    caption = f"before, after: median kp2d error, px of the {CROP_PX} px crop; PVE: median distance to SMPL, mm"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=box.SIMPLE)
    table.add_column("outcome")
    table.add_column("meaning")
    for name in ("people", "before", "after", "PVE"):
        table.add_column(name, justify="right")
    with store.query(generation.round) as connection:
        rows = {row[0]: row[1:] for row in connection.execute(_BY_DECISION).fetchall()}
    for decision in Decision:
        if decision in rows:
            people, before, after, pve = rows[decision]
            table.add_row(decision, _MEANING[decision], str(people), _px(before), _px(after), _figure(pve))
    table.add_section()
    for reason, count in sorted(generation.rejections.items()):
        repaired = RejectionReason(reason) in REPAIRS
        table.add_row(reason, "repaired: that part is left out" if repaired else "rejected", str(count), "", "", "")
    return table


def _px(error: float | None) -> str:
    return _figure(None if error is None else error * CROP_PX)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
