"""The columns of the index over two generations A and B: what a page can filter, sort and draw by."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How a column is filtered: by range, by choice, or by yes and no."""

    NUMBER = "number"
    CHOICE = "choice"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`sql`: its type in the index; `title`: for people, with the unit."""

    name: str
    sql: str
    kind: Kind
    title: str


def _number(name: str, title: str, sql: str = "FLOAT") -> Column:
    return Column(name=name, sql=sql, kind=Kind.NUMBER, title=title)


def _choice(name: str, title: str) -> Column:
    return Column(name=name, sql="VARCHAR", kind=Kind.CHOICE, title=title)


def _flag(name: str, title: str) -> Column:
    return Column(name=name, sql="BOOLEAN", kind=Kind.FLAG, title=title)


IDENTITY: Final = ("dataset", "shard", "key", "person")

COLUMNS: Final[tuple[Column, ...]] = (
    _choice("dataset", "data set"),
    _choice("shard", "shard"),
    _choice("key", "photo"),
    _number("person", "person in the photo", "INTEGER"),
    _flag("labelled_a", "has a label in A"),
    _flag("labelled_b", "has a label in B"),
    _choice("decision_a", "decision in A"),
    _choice("decision_b", "decision in B"),
    _choice("start_a", "start in A"),
    _choice("start_b", "start in B"),
    _choice("camera_b", "camera in B"),
    _flag("prediction_b", "a prediction is evidence in B"),
    _flag("pseudo_label_b", "an SMPL pseudo-label is known in B"),
    _number("px_a", "2D error in A, px"),
    _number("px_b", "2D error in B, px"),
    _number("px_change", "change of the 2D error, px"),
    _number("heldout_px_b", "2D error on hidden keypoints in B, px"),
    _number("candidate_px_b", "2D error of the candidate in B, px"),
    _number("energy_b", "energy in B"),
    _number("energy_gain_b", "energy of the parent less that of the label, B"),
    _number("angle_change_deg", "mean change of the angles, degrees"),
    _number("max_angle_change_deg", "largest change of an angle, degrees"),
    _choice("changed_most", "angle that changed most"),
    _number("q_std_deg_b", "mean q_std in B, degrees"),
    _number("limit_violation_deg_b", "largest excess over a joint limit in B, degrees"),
    _number("pve_mean_mm_b", "distance to the SMPL mesh in B, mean mm"),
    _number("pve_max_mm_b", "distance to the SMPL mesh in B, max mm"),
    _number("height_m_b", "height in B, m"),
    _number("focal_b", "focal length in B, crop units"),
    _number("iterations_b", "iterations in B", "INTEGER"),
)
"""Errors in px of the 256 px crop, as everywhere for people (docs/labels.md)."""

BY_NAME: Final = {column.name: column for column in COLUMNS}
NUMBERS: Final = tuple(column.name for column in COLUMNS if column.kind is Kind.NUMBER)
CHOICES: Final = ("dataset", "decision_a", "decision_b", "start_a", "start_b", "camera_b", "changed_most")
"""Columns with few values, which the page offers as lists."""

HIDDEN: Final = (("id", "INTEGER"), ("photo_group", "BIGINT"), ("beyond_b", "BIGINT"), ("at_limit_b", "BIGINT"))
"""id: position in the index, the tie-breaker of every order; beyond_b, at_limit_b: a bit for each of the 46 angles."""
