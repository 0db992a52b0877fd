"""The audit of one shard's labels, a pure function: are rows and file what they should be, and no worse than before?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from pipeline.labels.files.columns import (
    FIGURES,
    VECTORS,
    Mask,
    counts,
    equals,
    figures,
    identities,
    mask,
    one_of,
    positions,
    vectors,
)
from pipeline.labels.files.staging import StagedShard
from pipeline.labels.publishing.audit_config import AuditConfig
from pipeline.labels.publishing.audit_report import EXAMPLES
from schemas.camera import CameraSource
from schemas.gender import GENDERS
from schemas.labels import LABEL_SCHEMA, WITHOUT_LABEL, Decision, StartSource

QUANTILE_COLUMNS: Final = (
    "kp2d_error",
    "parent_kp2d_error",
    "kp2d_heldout_error",
    "kp2d_heldout_in_50",
    "kp2d_heldout_in_90",
    "energy",
    "parent_energy",
    "pve_mean_mm",
    "pve_max_mm",
    "limit_violation",
)
PARENT_COLUMNS: Final = ("key", "person", "kp2d_error", "kp2d_heldout_error", "focal", "camera_source")
"""What the audit reads of the parent generation."""

_SHOWN: Final = {
    "own_shard": ("round", "dataset", "shard"),
    "decisions_known": ("decision", "start_source", "has_label"),
    "genders_known": ("gender", "has_label"),
    "cameras_known": ("focal", "camera_source"),
    "null_not_nan": QUANTILE_COLUMNS,
    "energy_not_above_parent": ("decision", "energy", "parent_energy"),
    "error_not_above_parent": ("decision", "kp2d_error", "parent_kp2d_error"),
    "error_not_above_generation": ("decision", "kp2d_error"),
}
"""Check -> the columns whose values its examples name."""

Rows = Int64[np.ndarray, "N"]
"""For each row of the table, that of the same person in the parent's; -1 for who has none there."""

Failures = Mapping[str, tuple[int, tuple[str, ...]]]
"""Check -> how many rows, files or shards failed it, and the first few by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAudit:
    """What the audit of one file found: failures per check with examples, the figures for the quantiles, how many
    labels hold for another camera than the parent generation's, how many belong to the body of each gender, and the
    held-out errors in the parent generation and now of who has both under one camera.
    """

    failures: Failures
    figures: Mapping[str, Float64[np.ndarray, "_"]]
    other_camera: int = 0
    genders: Mapping[str, int] = field(default_factory=dict)
    heldout: tuple[Float64[np.ndarray, "M"], Float64[np.ndarray, "M"]] = (np.empty(0), np.empty(0))


def audit_shard(
    table: pa.Table, staged: StagedShard, parent: pa.Table | None = None, config: AuditConfig | None = None
) -> ShardAudit:
    """Judge the labels of one shard; `parent` holds PARENT_COLUMNS of the parent's rows of the shard."""
    config = config or AuditConfig()
    if not table.schema.equals(LABEL_SCHEMA):
        return ShardAudit(failures={"schema": (1, (f"{staged.data_file}: columns {table.schema.names}",))}, figures={})
    nulls = [field.name for field in LABEL_SCHEMA if not field.nullable and table[field.name].null_count]
    if nulls:
        return ShardAudit(failures={"schema": (1, (f"{staged.data_file}: null in {', '.join(nulls)}",))}, figures={})
    faults, changed, heldout = _row_failures(table, staged), 0, (np.empty(0), np.empty(0))
    if parent is not None:
        row = positions(identities(table), identities(parent))
        other_camera = _other_camera(table, parent, row)
        changed = int(other_camera.sum())
        # Errors under two cameras do not compare.
        faults["error_not_above_generation"] = ~other_camera & _above_generation(table, parent, row, config)
        heldout = _heldout_pairs(table, parent, row, ~other_camera)
    failures = {
        name: (int(rows.sum()), _named(table, staged, name, rows)) for name, rows in faults.items() if rows.any()
    }
    failures |= _file_failures(table, staged, parent)
    return ShardAudit(
        failures=failures,
        figures=_quantile_figures(table),
        other_camera=changed,
        genders=counts(table["gender"].drop_null()),
        heldout=heldout,
    )


def _row_failures(table: pa.Table, staged: StagedShard) -> dict[str, Mask]:
    """Check -> mask of the rows that fail it."""
    labelled = mask(table["has_label"])
    values = [vectors(table[name]) for name in VECTORS]
    finite = np.logical_and.reduce([np.isfinite(value).all(1) for value in values])
    zero = np.logical_and.reduce([(value == 0).all(1) for value in values])
    own = [equals(table[name], getattr(staged, name)) for name in ("round", "dataset", "shard")]
    identity = identities(table)
    first = positions(identity, identity)
    return {
        "own_shard": ~np.logical_and.reduce(own),
        "unique_identity": first != np.arange(len(table)),
        "finite_vectors": labelled & ~finite,
        "unlabelled_zero": ~labelled & ~zero,
        "decisions_known": ~_known_decisions(table, labelled),
        "genders_known": labelled != one_of(table["gender"], GENDERS),
        "cameras_known": labelled & ~_known_cameras(table),
        "null_not_nan": np.logical_or.reduce([_not_finite(table[name]) for name in FIGURES]),
        "energy_not_above_parent": _less_probable(table),
        "error_not_above_parent": _without_energies(table) & _above_parent(table),
    }


def _known_decisions(table: pa.Table, labelled: Mask) -> Mask:
    known = one_of(table["decision"], [str(item) for item in Decision])
    known &= one_of(table["start_source"], [str(item) for item in StartSource])
    without = one_of(table["decision"], [str(item) for item in WITHOUT_LABEL])
    carried = equals(table["decision"], Decision.KEPT_UNREADABLE)
    return known & np.where(labelled, ~without, without | carried)


def _known_cameras(table: pa.Table) -> Mask:
    """A source that there is, with a focal length; or neither, as in generations from before there were cameras."""
    stated = one_of(table["camera_source"], [str(item) for item in CameraSource]) & (figures(table["focal"]) > 0)
    silent = mask(table["camera_source"].is_null()) & mask(table["focal"].is_null())
    return stated | silent


def _without_energies(table: pa.Table) -> bool:
    """Whether labels were judged by their errors: in a round 0, or by code from before there were energies."""
    return table["energy"].null_count == len(table)


def _less_probable(table: pa.Table) -> Mask:
    """Float noise aside, no row is less probable than its parent given the same evidence, and improved ones are more.

    Rows that lack either energy, as those of new people, are not judged.
    """
    energy, parent = figures(table["energy"]), figures(table["parent_energy"])
    improved = equals(table["decision"], Decision.IMPROVED)
    return (energy > parent + 1e-6 * np.abs(parent) + 1e-9) | (improved & (energy >= parent))


def _above_parent(table: pa.Table) -> Mask:
    """Float noise aside, no row is worse than its parent under the same measure, and improved ones are better."""
    error, parent = figures(table["kp2d_error"]), figures(table["parent_kp2d_error"])
    improved = equals(table["decision"], Decision.IMPROVED)
    return (error > parent * (1 + 1e-9)) | (improved & ~(error < parent))


def _above_generation(table: pa.Table, parent: pa.Table, row: Rows, config: AuditConfig) -> Mask:
    """What was kept has the error on record; what replaced it by energy may follow the keypoints' noise less."""
    recorded = np.append(figures(parent["kp2d_error"]), np.nan)  # position -1 is a person the parent did not have
    replaced = equals(table["decision"], Decision.IMPROVED) & mask(table["energy"].is_valid())
    tolerance = np.where(replaced, config.gross_error_tolerance, config.error_tolerance)
    return figures(table["kp2d_error"]) > recorded[row] + tolerance


def _heldout_pairs(
    table: pa.Table, parent: pa.Table, row: Rows, comparable: Mask
) -> tuple[Float64[np.ndarray, "M"], Float64[np.ndarray, "M"]]:
    """Held-out errors in the parent generation and now, of the people who have both."""
    before = np.append(figures(parent["kp2d_heldout_error"]), np.nan)[row]
    now = figures(table["kp2d_heldout_error"])
    both = comparable & np.isfinite(before) & np.isfinite(now)
    return before[both], now[both]


def _other_camera(table: pa.Table, parent: pa.Table, row: Rows) -> Mask:
    """Labelled rows whose parent's label holds for another focal length; false for who had none."""
    before = np.append(np.where(np.isnan(figures(parent["kp2d_error"])), np.nan, _focal(parent)), np.nan)
    return mask(table["has_label"]) & np.isfinite(before[row]) & (_focal(table) != before[row])


def _focal(table: pa.Table) -> Float64[np.ndarray, "N"]:
    """Crop units; 0 stands for HSMR's, stated or not."""
    hsmr = mask(table["camera_source"].is_null()) | equals(table["camera_source"], CameraSource.HSMR)
    return np.where(hsmr, 0.0, figures(table["focal"]))


def _not_finite(column: pa.ChunkedArray) -> Mask:
    """True where a figure is there, but NaN or infinite."""
    return mask(column.is_valid()) & ~np.isfinite(figures(column))


def _file_failures(table: pa.Table, staged: StagedShard, parent: pa.Table | None) -> Failures:
    """Checks that concern the file as a whole."""
    failures: dict[str, tuple[int, tuple[str, ...]]] = {}
    decisions = counts(table["decision"])
    if table.num_rows != staged.rows or decisions != dict(staged.decisions):
        found = f"{table.num_rows} rows {decisions}, sidecar {staged.rows} {dict(staged.decisions)}"
        failures["counts_match"] = (1, (f"{staged.id}: {found}",))
    carried = decisions.get(Decision.KEPT_UNREADABLE, 0)
    if table.num_rows != staged.readable + carried:
        found = f"{table.num_rows} rows, {staged.readable} readable people, {carried} carried over"
        failures["one_row_per_person"] = (abs(table.num_rows - staged.readable - carried), (f"{staged.id}: {found}",))
    if parent is not None:
        lost = positions(identities(parent), identities(table)) < 0
        if lost.any():
            failures["parent_rows_present"] = (int(lost.sum()), _named(parent, staged, "parent_rows_present", lost))
    return failures


def _quantile_figures(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    return {name: figures(table[name].drop_null()) for name in QUANTILE_COLUMNS}


def _named(table: pa.Table, staged: StagedShard, check: str, rows_at_fault: Mask) -> tuple[str, ...]:
    """The first rows of a mask by name, with the values that the failed check is about."""
    rows = table.take(pa.array(np.flatnonzero(rows_at_fault)[:EXAMPLES])).to_pylist()
    shown = _SHOWN.get(check, ())
    return tuple(
        " ".join([f"{staged.id}/{row['key']} #{row['person']}", *(f"{column}={row[column]}" for column in shown)])
        for row in rows
    )
