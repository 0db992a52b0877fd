"""What changed between two generations, person by person."""

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float64

from pipeline.labels.files.columns import figures, identities, mask, positions, vectors
from pipeline.labels.files.staging import read_labels

if TYPE_CHECKING:
    from pipeline.labels.store import LabelStore

_COLUMNS: Final = ("dataset", "shard", "key", "person", "has_label", "q", "decision", "kp2d_error")

CHANGE_SCHEMA: Final = pa.schema(
    [
        pa.field("dataset", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("key", pa.string()),
        pa.field("person", pa.int32()),
        pa.field("decision", pa.string()),
        pa.field("in_before", pa.bool_()),
        pa.field("kp2d_error_before", pa.float64()),
        pa.field("kp2d_error_after", pa.float64()),
        pa.field("kp2d_error_change", pa.float64()),
        pa.field("angle_change_deg", pa.float64()),
    ]
)
"""Errors in crop units; angle_change_deg = mean over the 46 q of the absolute change, where both rows are labelled."""


def compare(store: "LabelStore", before: int, after: int) -> pa.Table:
    """One row (CHANGE_SCHEMA) per person of round `after`, with what it was in round `before`; reads shard by shard.

    Raises NoSuchGenerationError.
    """
    earlier, later = store.files(before), store.files(after)
    changes = [_changes(earlier.get(shard), url) for shard, url in later.items()]
    return pa.concat_tables([CHANGE_SCHEMA.empty_table(), *changes])


def _changes(before_url: str | None, after_url: str) -> pa.Table:
    after = read_labels(after_url, _COLUMNS)
    before = after.slice(0, 0) if before_url is None else read_labels(before_url, _COLUMNS)
    position = positions(identities(after), identities(before))
    known = position >= 0
    old = before.take(pa.array(position[known]))
    both_labelled = known.copy()
    both_labelled[known] = mask(old["has_label"]) & mask(after["has_label"])[known]
    old_error, angle = np.full(len(after), np.nan), np.full(len(after), np.nan)
    old_error[known] = figures(old["kp2d_error"])
    angle[known] = mean_angle_deg(vectors(old["q"]), vectors(after["q"])[known])
    error = figures(after["kp2d_error"])
    changes = {
        "kp2d_error_before": old_error,
        "kp2d_error_after": error,
        "kp2d_error_change": error - old_error,
        "angle_change_deg": np.where(both_labelled, angle, np.nan),
    }
    columns = {name: after[name] for name in ("dataset", "shard", "key", "person", "decision")}
    columns["in_before"] = pa.array(known)
    columns |= {name: pa.array(values, from_pandas=True) for name, values in changes.items()}
    return pa.table({name: columns[name] for name in CHANGE_SCHEMA.names}, schema=CHANGE_SCHEMA)


def angle_difference(
    before: Float[np.ndarray, "N 46"], after: Float[np.ndarray, "N 46"]
) -> Float64[np.ndarray, "N 46"]:
    """after - before of angles (N, 46) rad, the short way round: rad in [-pi, pi)."""
    return (after.astype(np.float64) - before + np.pi) % (2 * np.pi) - np.pi


def mean_angle_deg(before: Float[np.ndarray, "N 46"], after: Float[np.ndarray, "N 46"]) -> Float[np.ndarray, "N"]:
    """Mean absolute difference of angles (n, 46) rad, the short way round, in degrees (n,)."""
    return np.degrees(np.abs(angle_difference(before, after)).mean(1)) if len(after) else np.empty(0)
