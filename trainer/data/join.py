"""The join of label rows and people, by identity, shard by shard, and the count of what became of every row."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Float32

from pipeline.image.person_camera import PersonCamera
from pipeline.labels import read_labels, vectors, with_stated_genders
from schemas.camera import CameraSource
from schemas.gender import Gender
from schemas.labels import is_poor_fit
from schemas.person import PersonId

NOT_IN_SHARD: Final = "not_in_shard"
TOO_FEW_KEYPOINTS: Final = "too_few_keypoints"
FEWER_THAN_ASKED: Final = "fewer_keypoints_than_asked"
"""Reasons for a lost row besides those of RejectionReason. The second: there is no label and no keypoints either; the
third: data.fewest_keypoints leaves the person out.
"""

_COLUMNS: Final = (
    "key",
    "person",
    "has_label",
    "q",
    "betas",
    "q_std",
    "decision",
    "start_source",
    "pve_max_mm",
    "focal",
    "camera_source",
    "camera_turn",
    "gender",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """What training takes from a person's label; vectors count for nothing where not has_label.

    camera: the one that q holds for, HSMR's where the row names none (older generations, people without a label);
    calibrated: it was measured, and so were the person's 3D keypoints, in the photo camera's axes. gender: of the body
    that a label belongs to, None without one; a label that does not state it is of the one that everyone had then.
    """

    has_label: bool
    q: Float32[np.ndarray, "46"]
    betas: Float32[np.ndarray, "10"]
    q_std: Float32[np.ndarray, "46"]
    poor_fit: bool
    camera: PersonCamera
    calibrated: bool
    gender: Gender | None = None


class ShardLabels:
    """The label rows of one shard, in memory."""

    def __init__(self, file: str, max_betas: float | None = None) -> None:
        """Read a label file by path or s3:// URL. max_betas: a label with a larger |beta| is none."""
        table = with_stated_genders(read_labels(file, _COLUMNS), "auto")
        self._rows = {
            identity: row
            for row, identity in enumerate(zip(table["key"].to_pylist(), table["person"].to_pylist(), strict=True))
        }
        self._identities = list(self._rows)
        self._has_label = table["has_label"].to_numpy().astype(bool)
        self._poor_fit = is_poor_fit(
            np.array(table["decision"].to_pylist()),
            np.array(table["start_source"].to_pylist()),
            table["pve_max_mm"].to_numpy().astype(np.float64),  # null: NaN
        )
        self._q, self._betas, self._q_std = (vectors(table[name]) for name in ("q", "betas", "q_std"))
        if max_betas is not None:
            self._has_label &= np.abs(self._betas).max(1, initial=0) <= max_betas
        self._focal, self._turn = table["focal"].to_numpy().astype(np.float64), vectors(table["camera_turn"])
        self._source, self._gender = table["camera_source"].to_pylist(), table["gender"].to_pylist()

    def row_of(self, id: PersonId) -> int | None:
        """Row number of a person, None for a person without a row."""
        return self._rows.get((id.key, id.person))

    def identity(self, row: int) -> tuple[str, int]:
        """(key, person) of a row."""
        return self._identities[row]

    def __getitem__(self, row: int) -> LabelRow:
        return LabelRow(
            has_label=bool(self._has_label[row]),
            q=self._q[row],
            betas=self._betas[row],
            q_std=self._q_std[row],
            poor_fit=bool(self._poor_fit[row]),
            camera=PersonCamera.of_label(float(self._focal[row]), self._turn[row]),
            calibrated=self._source[row] == CameraSource.CALIBRATION,
            gender=self._gender[row],
        )


@dataclass(frozen=True, slots=True)
class JoinCounts:
    """What became of the people of an epoch so far. Counts of workers and ranks add up.

    used: people who were in a batch. lost: people who could not be, by reason (their place in the batch is blank).
    repeated: places filled by a person who was used before in this epoch. without_row: people in the shards whom the
    generation does not know. Over a whole epoch, used + lost = the rows drawn by the plan.
    """

    used: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0
    without_row: int = 0

    def __add__(self, other: "JoinCounts") -> "JoinCounts":
        return JoinCounts(
            used=self.used + other.used,
            lost=dict(Counter(self.lost) + Counter(other.lost)),
            repeated=self.repeated + other.repeated,
            without_row=self.without_row + other.without_row,
        )

    @property
    def n_lost(self) -> int:
        return sum(self.lost.values())

    @property
    def n_unread(self) -> int:
        """Those of the lost who are not left out on purpose."""
        return self.n_lost - self.lost.get(FEWER_THAN_ASKED, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRows:
    """What a plan makes of all label rows of a generation: rows = drawn + not_drawn + held_out + sum(left_out).

    left_out: by reason, see `LabelIndex`. Once all ranks have given all batches, drawn = used + lost of `JoinCounts`.
    """

    rows: int
    drawn: int
    not_drawn: int
    held_out: int
    left_out: Mapping[str, int]


def total(counts: Iterable[JoinCounts]) -> JoinCounts:
    """Sum over workers or ranks."""
    result = JoinCounts()
    for one in counts:
        result = result + one
    return result
