"""What a report says of many labels: counts and histograms, one shard at a time, which add up to those of all."""

from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from pipeline.image.camera import FOCAL
from pipeline.image.crop import CROP_PX
from pipeline.labels.files.columns import counts, figures, identities, mask, positions, vectors
from pipeline.labels.inspecting.comparison import angle_difference
from pipeline.report.histogram import Histograms
from schemas.skel import LIMIT_ROUNDING_RAD, N_BETAS, N_UNLIMITED, limit_margin, q_limits

COLUMNS: Final = (
    "dataset", "shard", "key", "person", "has_label", "q", "q_std", "betas", "cam_t", "decision", "start_source",
    "kp2d_error", "kp2d_heldout_error", "energy", "parent_energy", "pve_mean_mm", "iterations", "focal",
    "camera_source", "height_m",
)  # fmt: skip
"""What is read of a label table."""


class Scale(NamedTuple):
    """A measure of a label, in `unit`; its fine histogram spans [0, high]."""

    name: str
    title: str
    unit: str
    high: float


SCALES: Final = (
    Scale("kp2d_error", "2D error", "px of the 256 px crop", 128),
    Scale("kp2d_heldout_error", "2D error on hidden keypoints", "px of the 256 px crop", 128),
    Scale("energy", "energy of the label", "squared standard deviations", 1024),
    Scale("parent_energy", "energy of its parent, same evidence", "squared standard deviations", 1024),
    Scale("q_std", "standard deviation of q, mean over the joints", "degrees", 128),
    Scale("pve_mean_mm", "distance to the SMPL pseudo-label (mean PVE)", "mm", 512),
    Scale("focal", "focal length", "crop units", 32),
    Scale("distance", "distance from the camera", "m", 128),
    Scale("height_m", "height of the body", "m", 4),
    Scale("iterations", "iterations of the fit", "iterations", 256),
)
_FINE_BINS: Final = 2048
_CHANGE_HIGH: Final = 128.0  # degrees
_Q_BINS: Final = 120
_Q_MARGIN: Final = 0.1  # of its range, beyond either limit: 100 bins lie within
BETAS_HIGH: Final = 4.0
_BETAS_BINS: Final = 80

_SCALE_LOW, _SCALE_HIGH = np.zeros(len(SCALES)), np.array([scale.high for scale in SCALES], np.float64)
_LIMIT_LOW, _LIMIT_HIGH = q_limits()
_Q_LOW = np.degrees(_LIMIT_LOW - _Q_MARGIN * (_LIMIT_HIGH - _LIMIT_LOW))
_Q_HIGH = np.degrees(_LIMIT_HIGH + _Q_MARGIN * (_LIMIT_HIGH - _LIMIT_LOW))
_BETAS_EDGE = np.full(N_BETAS, BETAS_HIGH)


@dataclass(frozen=True)
class LabelFigures:
    """Of some label rows: counts of all, histograms of the labelled ones. scalars: a row for each of SCALES; q (46):
    degrees, betas (10). outside (46): how many labels are beyond a limit of that joint angle, worst_deg: by how much.
    """

    people: int
    labelled: int
    decisions: Counter[str]
    starts: Counter[str]
    cameras: Counter[str]
    scalars: Histograms
    q: Histograms
    betas: Histograms
    outside: Int64[np.ndarray, "46"]
    worst_deg: Float64[np.ndarray, "46"]

    def __add__(self, other: "LabelFigures") -> "LabelFigures":
        return LabelFigures(
            self.people + other.people,
            self.labelled + other.labelled,
            self.decisions + other.decisions,
            self.starts + other.starts,
            self.cameras + other.cameras,
            self.scalars + other.scalars,
            self.q + other.q,
            self.betas + other.betas,
            self.outside + other.outside,
            np.maximum(self.worst_deg, other.worst_deg),
        )

    def quantile(self, name: str, share: float) -> float | None:
        """Of a measure of SCALES, by its name; None where nobody has it."""
        return self.scalars.quantile(share, SCALE_ROW[name])

    def mean(self, name: str) -> float | None:
        return self.scalars.mean(SCALE_ROW[name])


SCALE_ROW: Final = {scale.name: row for row, scale in enumerate(SCALES)}


def label_figures(table: pa.Table) -> LabelFigures:
    """Of the rows of a label table (COLUMNS)."""
    labelled = mask(table["has_label"])
    rows = table.filter(pa.array(labelled))
    q = _in_range(vectors(rows["q"]).astype(np.float64))
    excess = -limit_margin(q)
    cameras = [str(name or "hsmr") for name in rows["camera_source"].to_pylist()]
    return LabelFigures(
        len(table),
        int(labelled.sum()),
        Counter(counts(table["decision"])),
        Counter(counts(table["start_source"])),
        Counter(cameras),
        Histograms.of(_scalars(rows), _SCALE_LOW, _SCALE_HIGH, _FINE_BINS),
        Histograms.of(np.degrees(q), _Q_LOW, _Q_HIGH, _Q_BINS),
        Histograms.of(vectors(rows["betas"]), -_BETAS_EDGE, _BETAS_EDGE, _BETAS_BINS),
        (excess > LIMIT_ROUNDING_RAD).sum(0).astype(np.int64),
        np.degrees(np.maximum(excess.max(0, initial=0.0), 0.0)),
    )


def _scalars(rows: pa.Table) -> Float64[np.ndarray, "N scales"]:
    focal = figures(rows["focal"])
    values = {
        "kp2d_error": figures(rows["kp2d_error"]) * CROP_PX,
        "kp2d_heldout_error": figures(rows["kp2d_heldout_error"]) * CROP_PX,
        "energy": figures(rows["energy"]),
        "parent_energy": figures(rows["parent_energy"]),
        "q_std": np.degrees(vectors(rows["q_std"]).mean(1, dtype=np.float64)),
        "pve_mean_mm": figures(rows["pve_mean_mm"]),
        "focal": np.where(np.isfinite(focal), focal, FOCAL),  # null is HSMR's camera
        "distance": vectors(rows["cam_t"])[:, 2].astype(np.float64),
        "height_m": figures(rows["height_m"]),
        "iterations": figures(rows["iterations"]),
    }
    return np.stack([values[scale.name] for scale in SCALES], 1)


def _in_range(q: Float64[np.ndarray, "N 46"]) -> Float64[np.ndarray, "N 46"]:
    """With the pelvis, which turns freely, in [-pi, pi)."""
    q[:, :N_UNLIMITED] = (q[:, :N_UNLIMITED] + np.pi) % (2 * np.pi) - np.pi
    return q


@dataclass(frozen=True)
class Changes:
    """Of people labelled in both generations: by how much q moved. people: how many; turned: histogram of the mean
    over the 46 angles of the absolute change, degrees; q_sums (46), q_squares: of the signed changes, degrees.
    gained, lost: people with a label in the new generation alone, and in the old one alone.
    """

    people: int
    gained: int
    lost: int
    turned: Histograms
    q_sums: Float64[np.ndarray, "46"]
    q_squares: Float64[np.ndarray, "46"]

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(
            self.people + other.people,
            self.gained + other.gained,
            self.lost + other.lost,
            self.turned + other.turned,
            self.q_sums + other.q_sums,
            self.q_squares + other.q_squares,
        )


@dataclass(frozen=True)
class Matched:
    """The rows of a shard beside what they were before: changed_deg (N,), mean over the 46 angles of the absolute
    change, NaN where one of the two has no label; before_px (N,), the 2D error before, NaN where unknown.
    """

    changes: Changes
    changed_deg: Float64[np.ndarray, "N"]
    before_px: Float64[np.ndarray, "N"]


def matched(after: pa.Table, before: pa.Table) -> Matched:
    """The rows of one shard in two generations (COLUMNS), by identity, whatever their order."""
    row = positions(identities(after), identities(before))
    known = row >= 0
    old = before.take(pa.array(row[known]))
    had_one = np.zeros(len(after), bool)
    had_one[known] = mask(old["has_label"])
    has_one = mask(after["has_label"])
    both = had_one & has_one
    change = np.degrees(angle_difference(vectors(old["q"])[both[known]], vectors(after["q"])[both]))
    changed, before_px = np.full(len(after), np.nan), np.full(len(after), np.nan)
    changed[both] = np.abs(change).mean(1)
    before_px[known] = figures(old["kp2d_error"]) * CROP_PX
    labelled_before = int(mask(before["has_label"]).sum())
    return Matched(
        Changes(
            int(both.sum()),
            int((has_one & ~had_one).sum()),
            labelled_before - int(both.sum()),
            Histograms.of(changed[both][:, None], np.zeros(1), np.full(1, _CHANGE_HIGH), _FINE_BINS),
            change.sum(0),
            np.square(change).sum(0),
        ),
        changed,
        before_px,
    )
