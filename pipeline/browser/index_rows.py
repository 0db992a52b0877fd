"""Index rows of one shard: the people of two generations side by side, as scalars."""

from typing import Final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int64

from pipeline.browser.columns import COLUMNS
from pipeline.image.crop import CROP_PX
from pipeline.labels.files.columns import figures, identities, mask, positions, vectors
from pipeline.labels.files.staging import read_labels
from pipeline.labels.inspecting.comparison import angle_difference
from schemas.labels import LABEL_SCHEMA
from schemas.skel import LIMIT_ROUNDING_RAD, N_Q, Q_NAMES, limit_margin

AT_LIMIT_RAD: Final = np.radians(0.5)
"""So near a limit, or beyond it, that the limit and not the evidence may have decided."""

_READ: Final = (
    "dataset", "shard", "key", "person", "has_label", "q", "q_std", "prediction_q_std", "decision", "start_source",
    "kp2d_error", "candidate_kp2d_error", "kp2d_heldout_error", "energy", "parent_energy", "pve_mean_mm", "pve_max_mm",
    "limit_violation", "iterations", "focal", "camera_source", "height_m", "photo_group",
)  # fmt: skip


def shard_rows(url_a: str | None, url_b: str | None) -> pa.Table:
    """One row for everybody whom the shard's files of A or B know, in B's order; None: the generation has no such file.

    Columns: `id` excepted, those of `columns`. Unknown numbers are null. Raises as `read_labels`.
    """
    b = _read(url_b)
    a = _read(url_a)
    gone = positions(identities(a), identities(b)) < 0
    if gone.any():
        b = pa.concat_tables([b, _strangers(a.filter(pa.array(gone)))])
    at = positions(identities(b), identities(a))
    in_a = at >= 0
    in_b = np.arange(len(b)) < len(b) - int(gone.sum())
    old = a.take(pa.array(np.where(in_a, at, 0))) if len(a) else None
    return pa.table(_columns(b, in_b, old, in_a))


def _read(url: str | None) -> pa.Table:
    return LABEL_SCHEMA.empty_table().select(_READ) if url is None else read_labels(url, _READ)


def _strangers(rows: pa.Table) -> pa.Table:
    """People whom only A knows, as rows of B without a label."""
    empty = {}
    for field in rows.schema:
        if pa.types.is_fixed_size_list(field.type):
            zeros = pa.array(np.zeros(len(rows) * field.type.list_size, np.float32))
            empty[field.name] = pa.FixedSizeListArray.from_arrays(zeros, type=field.type)
        elif field.name in ("dataset", "shard", "key", "person", "photo_group"):
            empty[field.name] = rows[field.name]
        elif field.name == "has_label":
            empty[field.name] = pa.array(np.zeros(len(rows), bool))
        else:
            empty[field.name] = pa.array([""] * len(rows)) if not field.nullable else pa.nulls(len(rows), field.type)
    return pa.table(empty, schema=rows.schema)


def _columns(
    b: pa.Table, in_b: Bool[np.ndarray, "N"], old: pa.Table | None, in_a: Bool[np.ndarray, "N"]
) -> dict[str, pa.Array]:
    n = len(b)
    labelled_b = mask(b["has_label"]) & in_b
    labelled_a = np.zeros(n, bool) if old is None else mask(old["has_label"]) & in_a
    px_b = figures(b["kp2d_error"]) * CROP_PX
    px_a = np.full(n, np.nan) if old is None else np.where(in_a, figures(old["kp2d_error"]) * CROP_PX, np.nan)
    q_b = vectors(b["q"]).astype(np.float64)
    q_a = np.zeros((n, N_Q)) if old is None else vectors(old["q"]).astype(np.float64)
    both = labelled_a & labelled_b
    change = np.degrees(np.abs(angle_difference(q_a, q_b)))
    most = np.where(both & (change.max(1, initial=0) > 0), change.argmax(1) if n else 0, -1)
    margin = limit_margin(q_b)
    known = {
        "labelled_a": labelled_a,
        "labelled_b": labelled_b,
        "decision_a": _text(old, "decision", in_a),
        "decision_b": _text(b, "decision", in_b),
        "start_a": _text(old, "start_source", in_a),
        "start_b": _text(b, "start_source", in_b),
        "camera_b": b["camera_source"],
        "prediction_b": labelled_b & (vectors(b["prediction_q_std"]) > 0).any(1),
        "pseudo_label_b": labelled_b & np.isfinite(figures(b["pve_mean_mm"])),
        "px_a": px_a,
        "px_b": px_b,
        "px_change": px_b - px_a,
        "heldout_px_b": figures(b["kp2d_heldout_error"]) * CROP_PX,
        "candidate_px_b": figures(b["candidate_kp2d_error"]) * CROP_PX,
        "energy_b": figures(b["energy"]),
        "energy_gain_b": figures(b["parent_energy"]) - figures(b["energy"]),
        "angle_change_deg": np.where(both, change.mean(1) if n else 0.0, np.nan),
        "max_angle_change_deg": np.where(both, change.max(1, initial=0), np.nan),
        "changed_most": pa.array([Q_NAMES[i] if i >= 0 else None for i in most], pa.string()),
        "q_std_deg_b": _positive(np.degrees(vectors(b["q_std"]).astype(np.float64).mean(1) if n else np.zeros(0))),
        "limit_violation_deg_b": np.degrees(figures(b["limit_violation"])),
        "pve_mean_mm_b": figures(b["pve_mean_mm"]),
        "pve_max_mm_b": figures(b["pve_max_mm"]),
        "height_m_b": figures(b["height_m"]),
        "focal_b": figures(b["focal"]),
        "iterations_b": b["iterations"],
    }
    made = {column.name: _array(known.get(column.name, b[column.name] if column.name in _READ else None), column.sql)
            for column in COLUMNS}  # fmt: skip
    made["photo_group"] = _array(b["photo_group"], "BIGINT")
    made["beyond_b"] = pa.array(np.where(labelled_b, _bits(margin < -LIMIT_ROUNDING_RAD), 0))
    made["at_limit_b"] = pa.array(np.where(labelled_b, _bits(margin < AT_LIMIT_RAD), 0))
    return made


def _bits(flags: Bool[np.ndarray, "N 46"]) -> Int64[np.ndarray, "N"]:
    return (flags.astype(np.int64) << np.arange(N_Q, dtype=np.int64)).sum(1)


def _text(rows: pa.Table | None, name: str, known: Bool[np.ndarray, "N"]) -> pa.Array:
    if rows is None:
        return pa.nulls(len(known), pa.string())
    return pa.array(np.where(known, rows[name].to_numpy(), None), pa.string())


def _positive(values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Zero says: not stated."""
    return np.where(values > 0, values, np.nan)


_ARROW: Final = {
    "FLOAT": pa.float32(), "INTEGER": pa.int32(), "BIGINT": pa.int64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_()
}  # fmt: skip


def _array(values: object, sql: str) -> pa.Array | pa.ChunkedArray:
    kind = _ARROW[sql]
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind)
    return pa.array(np.asarray(values), kind, from_pandas=True)
