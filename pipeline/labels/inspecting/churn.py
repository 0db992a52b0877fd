"""How many labels moved from one generation to another, by joint, and how many moved there and back again.

A loop whose labels keep moving by degrees while no error falls is not improving them; one whose labels flip between
two poses has two answers and no evidence to choose by.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Float64, Int64

from pipeline.body.representation import orientation_to_matrix
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.labels.files.columns import identities, mask, positions, vectors
from pipeline.labels.files.staging import read_labels
from pipeline.labels.inspecting.inspection import ResultTable
from schemas.skel import N_UNLIMITED, Q_NAMES

if TYPE_CHECKING:
    from pipeline.labels.store import LabelStore

MOVED_DEG: Final = (1.0, 5.0, 10.0)
LEFT_DEG, CAME_BACK_DEG = 5.0, 2.0
"""A flip-flop: an angle moved by more than the first, and is then within the second of where it was."""

ANGLES: Final = ("any", "pelvis", *Q_NAMES[N_UNLIMITED:])
"""What is counted: whether anything moved, the pelvis as the one rotation it is, and the angles with limits."""

_COLUMNS: Final = ("key", "person", "has_label", "q")


@dataclass(frozen=True)
class Churn:
    """How many people moved, of `people` labelled in both generations: moved (45, 3) for ANGLES by more than MOVED_DEG;
    total_deg (45,): sum of the changes, the first that of the mean over angles. returned (45,): how many of
    `people_thrice`, labelled in the generation before both too, left and came back.
    """

    people: int
    moved: Int64[np.ndarray, "45 3"]
    total_deg: Float64[np.ndarray, "45"]
    people_thrice: int
    returned: Int64[np.ndarray, "45"]

    def __add__(self, other: "Churn") -> "Churn":
        return Churn(
            self.people + other.people,
            self.moved + other.moved,
            self.total_deg + other.total_deg,
            self.people_thrice + other.people_thrice,
            self.returned + other.returned,
        )


def churn(store: "LabelStore", before: int, after: int) -> Churn:
    """From round `before` to round `after`, shard by shard; flip-flops where the round before `before` is published.

    Raises NoSuchGenerationError.
    """
    rounds = [after, before]
    if any(generation.round == before - 1 for generation in store.rounds()):
        rounds.append(before - 1)
    plans = [store.files(round) for round in rounds]
    total = NO_CHURN
    for shard in sorted(plans[0].keys() & plans[1].keys()):
        total += shard_churn(*(read_labels(plan[shard], _COLUMNS) for plan in plans if shard in plan))
    return total


def shard_churn(after: pa.Table, before: pa.Table, earlier: pa.Table | None = None) -> Churn:
    """Of the labels of one shard, whatever the order of their rows: key, person, has_label and q of two or three
    generations, the latest first.
    """
    people = identities(after)
    labelled, known = mask(after["has_label"]), vectors(after["q"])
    q_before, had_one = _aligned(before, people)
    both = labelled & had_one
    change = angle_change_deg(q_before[both], known[both])
    moved = np.stack([_counted(change > bound) for bound in MOVED_DEG], 1)
    total = np.append(change.mean(1).sum(), change.sum(0))
    if earlier is None:
        return Churn(int(both.sum()), moved, total, 0, np.zeros(len(ANGLES), np.int64))
    q_earlier, had_one_earlier = _aligned(earlier, people)
    thrice = both & had_one_earlier
    left = angle_change_deg(q_earlier[thrice], q_before[thrice]) > LEFT_DEG
    back = angle_change_deg(q_earlier[thrice], known[thrice]) < CAME_BACK_DEG
    return Churn(int(both.sum()), moved, total, int(thrice.sum()), _counted(left & back))


def angle_change_deg(
    before: Float[np.ndarray, "N 46"], after: Float[np.ndarray, "N 46"]
) -> Float64[np.ndarray, "N 44"]:
    """How far each of ANGLES but the first moved, degrees: the pelvis by the angle of the rotation between the two, the
    others (q in rad) by their absolute difference.
    """
    turn = [orientation_to_matrix(torch.as_tensor(q[:, :N_UNLIMITED].astype(np.float64))) for q in (before, after)]
    pelvis = matrix_to_axis_angle(turn[1] @ turn[0].mT).norm(dim=-1).numpy()
    limited = np.abs(after[:, N_UNLIMITED:].astype(np.float64) - before[:, N_UNLIMITED:])
    return np.degrees(np.concatenate([pelvis[:, None], limited], 1))


def _aligned(table: pa.Table, people: pa.ChunkedArray) -> tuple[Float[np.ndarray, "N 46"], Bool[np.ndarray, "N"]]:
    """q (N, 46) of these people in a table, and whether they had a label there."""
    row = positions(people, identities(table))
    found = row >= 0
    if not len(table):
        return np.zeros((len(row), len(Q_NAMES)), np.float32), found
    return vectors(table["q"])[row], found & mask(table["has_label"])[row]


def _counted(angles: Bool[np.ndarray, "N 44"]) -> Int64[np.ndarray, "45"]:
    """People with any of the angles, and with each."""
    return np.append(angles.any(1).sum(), angles.sum(0)).astype(np.int64)


NO_CHURN: Final = Churn(
    0, np.zeros((len(ANGLES), 3), np.int64), np.zeros(len(ANGLES)), 0, np.zeros(len(ANGLES), np.int64)
)


def churn_table(found: Churn, before: int, after: int) -> ResultTable:
    """One row for each of ANGLES, those that moved most first; shares of people in [0, 1], None without people."""
    shares = found.moved / max(found.people, 1)
    mean, returned = found.total_deg / max(found.people, 1), found.returned / max(found.people_thrice, 1)
    order = [0, *sorted(range(1, len(ANGLES)), key=lambda angle: -mean[angle])]
    rows = tuple(
        (
            ANGLES[angle],
            *([float(mean[angle]), *map(float, shares[angle])] if found.people else [None] * 4),
            float(returned[angle]) if found.people_thrice else None,
        )
        for angle in order
    )
    title = f"churn from round {before} to {after}: {found.people} people, {found.people_thrice} over three rounds"
    bounds = (f"moved_{bound:g}_deg" for bound in MOVED_DEG)
    return ResultTable(title=title, columns=("angle", "mean_deg", *bounds, "flip_flop"), rows=rows)
