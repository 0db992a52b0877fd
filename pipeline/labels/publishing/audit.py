"""The audit: is a staged generation complete, consistent and no worse than its parent? Reads one shard at a time.

`audit_shard` judges one shard's table and is pure; `audit_generation` streams all shards through it and adds what only
the whole can tell.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
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
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.lineage import InputShard, Quantiles
from pipeline.labels.files.staging import StagedShard, corruption, decode, read_labels
from pipeline.labels.publishing.quantile_sketch import QuantileSketch
from pipeline.storage.storage import Storage
from schemas.labels import LABEL_SCHEMA, Decision, StartSource
from schemas.person import REPAIRS, Rejection, RejectionReason

EXAMPLES: Final = 5
QUANTILE_COLUMNS: Final = ("kp2d_error", "parent_kp2d_error", "pve_mean_mm", "pve_max_mm", "limit_violation")

CHECKS: Final = {
    "inputs_accounted": "every input shard was staged or failed with a recorded reason, and no other was staged",
    "not_empty": "the generation has rows",
    "files_intact": "each file has the size and checksum its sidecar states",
    "schema": "each file follows LABEL_SCHEMA, with no null in a required column",
    "own_shard": "round, dataset and shard of each row are those of its file",
    "unique_identity": "no person occurs twice",
    "finite_vectors": "the vectors (q, betas, cam_t, ...) of labelled rows are finite",
    "unlabelled_zero": "rows without a label have zero vectors",
    "decisions_known": "decision and start_source are known values, and agree with has_label",
    "null_not_nan": "unknown figures are null, never NaN or infinite",
    "counts_match": "row and decision counts are those of the sidecar",
    "one_row_per_person": "one row per readable person, besides rows carried over from the parent",
    "parent_rows_present": "every row of the parent generation is present",
    "error_not_above_parent": "kp2d_error is not above parent_kp2d_error, and below it in improved rows",
    "error_not_above_generation": "kp2d_error is not above the one the parent generation recorded",
    "error_quantiles": "p50 and p95 of kp2d_error are not above the parent's by more than audit.quantile_tolerance",
    "rejected_share": "the share of rejected people is within audit.max_rejected_share",
    "unreadable_share": "the share of unreadable shards is within audit.max_unreadable_share",
}
"""Name and meaning of every check, in the order of the report."""

FORCEABLE: Final = frozenset({"error_not_above_generation", "error_quantiles", "rejected_share", "unreadable_share"})
"""Judgements of quality, which somebody may overrule with a reason. The others say that files, identities, values or
completeness are broken: readers and later rounds rely on those, so nobody may."""

JUDGED_QUANTILES: Final = ("p50", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """What a generation may at most lack. Shares in [0, 1].

    error_tolerance: crop units by which kp2d_error may exceed the parent generation's record, as the parent's
    camera is solved again (1e-4 = 0.026 px of the 256 px crop). quantile_tolerance: share by which p50 and p95 of
    kp2d_error may exceed the parent generation's: people with a first label may be harder ones.
    """

    max_rejected_share: float = 0.5
    max_unreadable_share: float = 0.5
    error_tolerance: float = 1e-4
    quantile_tolerance: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """One named check: how many rows, files or shards failed it, the figures, and the first few by name."""

    name: str
    failures: int
    figures: str = ""
    examples: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.failures == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The verdict on a generation, and the counts and quantiles that go into its lineage."""

    checks: tuple[AuditCheck, ...]
    rows: int
    decisions: Mapping[str, int]
    rejections: Mapping[str, int]
    unreadable_shards: tuple[str, ...]
    metrics: Mapping[str, Quantiles]

    @property
    def failed(self) -> tuple[AuditCheck, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def forceable(self) -> bool:
        """Whether everything that failed is a judgement that somebody may overrule."""
        return all(check.name in FORCEABLE for check in self.failed)


class AuditFailedError(LabelStoreError):
    """The generation failed its audit; nothing was published."""

    def __init__(self, round: int, report: AuditReport) -> None:
        self.report = report
        lines = [f"Round {round} failed its audit and was not published:"]
        for check in report.failed:
            lines.append(f"  {check.name}: {check.figures or check.failures} (expected: {CHECKS[check.name]})")
            lines += [f"    {example}" for example in check.examples]
        lines.append(_way_out(report))
        super().__init__("\n".join(lines))


def _way_out(report: AuditReport) -> str:
    if report.forceable:
        return "If that is as it should be, publish it with a reason, which is recorded: --force-publish 'REASON'."
    broken = ", ".join(check.name for check in report.failed if check.name not in FORCEABLE)
    return f"No reason can publish it: {broken} must hold in every generation. Correct the cause and start again."


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAudit:
    """What the audit of one file found: failures per check with examples, and the figures for the quantiles."""

    failures: Mapping[str, tuple[int, tuple[str, ...]]]
    figures: Mapping[str, NDArray[np.float64]]


def audit_shard(
    table: pa.Table, staged: StagedShard, parent: pa.Table | None = None, config: AuditConfig | None = None
) -> ShardAudit:
    """Judge the labels of one shard; `parent` holds key, person and kp2d_error of the parent's rows of the shard."""
    config = config or AuditConfig()
    if not table.schema.equals(LABEL_SCHEMA):
        return ShardAudit(failures={"schema": (1, (f"{staged.data_file}: columns {table.schema.names}",))}, figures={})
    nulls = [field.name for field in LABEL_SCHEMA if not field.nullable and table[field.name].null_count]
    if nulls:
        return ShardAudit(failures={"schema": (1, (f"{staged.data_file}: null in {', '.join(nulls)}",))}, figures={})
    faults = _row_failures(table, staged)
    if parent is not None:
        faults["error_not_above_generation"] = _above_generation(table, parent, config.error_tolerance)
    failures = {
        name: (int(rows.sum()), _named(table, staged, name, rows)) for name, rows in faults.items() if rows.any()
    }
    failures |= _file_failures(table, staged, parent)
    return ShardAudit(failures=failures, figures=_quantile_figures(table))


def audit_generation(
    storage: Storage,
    staged: Sequence[StagedShard],
    unreadable: Sequence[Rejection],
    inputs: Sequence[InputShard],
    parent_files: Mapping[tuple[str, str], str],
    config: AuditConfig,
    parent_metrics: Mapping[str, Quantiles] | None = None,
) -> AuditReport:
    """Audit all staged shards of a run against its inputs, the files and the error quantiles of the parent generation.

    `unreadable`: one rejection per shard that could not be read; such a shard may still have been staged with the
    parent's rows. Holds a few files in memory at a time and nothing per row, however many shards there are.
    """
    by_shard = {(item.dataset, item.shard): item for item in staged}

    def audit_one(item: StagedShard) -> ShardAudit:
        return _audit_file(storage, item, parent_files.get((item.dataset, item.shard)), config)

    failures: dict[str, tuple[int, tuple[str, ...]]] = {}
    sketches = {name: QuantileSketch() for name in QUANTILE_COLUMNS}
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for audit in pool.map(audit_one, staged):
            _gather(failures, audit)
            for name, values in audit.figures.items():
                sketches[name].add(values)
    missing = [shard for shard in parent_files if shard not in by_shard]
    _add(failures, "parent_rows_present", [f"{dataset}/{shard}: the whole shard" for dataset, shard in missing])
    _add(failures, "inputs_accounted", _unaccounted(staged, unreadable, inputs, parent_files))
    rows = sum(item.rows for item in staged)
    if not rows:
        _add(failures, "not_empty", [f"{len(staged)} shards staged, {len(unreadable)} unreadable"])
    rejections = [rejection for item in staged for rejection in item.rejections] + [
        rejection for rejection in unreadable if not _recorded(rejection, by_shard)
    ]
    metrics = {name: found for name, sketch in sketches.items() if (found := sketch.quantiles())}
    judged = _share_checks(staged, rejections, unreadable, inputs, config)
    judged["error_quantiles"] = _quantile_check(metrics, parent_metrics or {}, config)
    checks = [judged.get(name) or _check(name, *failures.get(name, (0, ()))) for name in CHECKS]
    return AuditReport(
        checks=tuple(checks),
        rows=rows,
        decisions=_total(item.decisions for item in staged),
        rejections=_total([Counter(str(rejection.reason) for rejection in rejections)]),
        unreadable_shards=tuple(sorted({f"{item.dataset}/{item.shard}" for item in unreadable})),
        metrics=metrics,
    )


def _audit_file(storage: Storage, item: StagedShard, parent_url: str | None, config: AuditConfig) -> ShardAudit:
    try:
        data = storage.read(item.data_file)
    except FileNotFoundError:
        return ShardAudit(failures={"files_intact": (1, (f"{item.data_file}: missing",))}, figures={})
    if problem := corruption(item, data):
        return ShardAudit(failures={"files_intact": (1, (f"{item.data_file}: {problem}",))}, figures={})
    parent = None if parent_url is None else read_labels(parent_url, ["key", "person", "kp2d_error"])
    return audit_shard(decode(data), item, parent, config)


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
        "null_not_nan": np.logical_or.reduce([_not_finite(table[name]) for name in FIGURES]),
        "error_not_above_parent": _above_parent(table),
    }


def _known_decisions(table: pa.Table, labelled: Mask) -> Mask:
    known = one_of(table["decision"], [str(item) for item in Decision])
    known &= one_of(table["start_source"], [str(item) for item in StartSource])
    without, carried = equals(table["decision"], Decision.NO_LABEL), equals(table["decision"], Decision.KEPT_UNREADABLE)
    return known & np.where(labelled, ~without, without | carried)


def _above_parent(table: pa.Table) -> Mask:
    """Float noise aside, no row is worse than its parent under the same measure, and improved ones are better."""
    error, parent = figures(table["kp2d_error"]), figures(table["parent_kp2d_error"])
    improved = equals(table["decision"], Decision.IMPROVED)
    return (error > parent * (1 + 1e-9)) | (improved & ~(error < parent))


def _above_generation(table: pa.Table, parent: pa.Table, tolerance: float) -> Mask:
    recorded = np.append(figures(parent["kp2d_error"]), np.nan)  # position -1 is a person the parent did not have
    return figures(table["kp2d_error"]) > recorded[positions(identities(table), identities(parent))] + tolerance


def _file_failures(
    table: pa.Table, staged: StagedShard, parent: pa.Table | None
) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Checks that concern the file as a whole."""
    failures: dict[str, tuple[int, tuple[str, ...]]] = {}
    place = f"{staged.dataset}/{staged.shard}"
    decisions = counts(table["decision"])
    if table.num_rows != staged.rows or decisions != dict(staged.decisions):
        found = f"{table.num_rows} rows {decisions}, sidecar {staged.rows} {dict(staged.decisions)}"
        failures["counts_match"] = (1, (f"{place}: {found}",))
    carried = decisions.get(Decision.KEPT_UNREADABLE, 0)
    if table.num_rows != staged.readable + carried:
        found = f"{table.num_rows} rows, {staged.readable} readable people, {carried} carried over"
        failures["one_row_per_person"] = (abs(table.num_rows - staged.readable - carried), (f"{place}: {found}",))
    if parent is not None:
        lost = positions(identities(parent), identities(table)) < 0
        if lost.any():
            failures["parent_rows_present"] = (int(lost.sum()), _named(parent, staged, "parent_rows_present", lost))
    return failures


_SHOWN: Final = {
    "own_shard": ("round", "dataset", "shard"),
    "decisions_known": ("decision", "start_source", "has_label"),
    "null_not_nan": QUANTILE_COLUMNS,
    "error_not_above_parent": ("decision", "kp2d_error", "parent_kp2d_error"),
    "error_not_above_generation": ("decision", "kp2d_error"),
}


def _quantile_figures(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    return {name: figures(table[name].drop_null()) for name in QUANTILE_COLUMNS}


def _named(table: pa.Table, staged: StagedShard, check: str, rows_at_fault: Mask) -> tuple[str, ...]:
    """The first rows of a mask by name, with the values that the failed check is about."""
    rows = table.take(pa.array(np.flatnonzero(rows_at_fault)[:EXAMPLES])).to_pylist()
    place = f"{staged.dataset}/{staged.shard}"
    shown = _SHOWN.get(check, ())
    return tuple(
        " ".join([f"{place}/{row['key']} #{row['person']}", *(f"{column}={row[column]}" for column in shown)])
        for row in rows
    )


def _share_checks(
    staged: Sequence[StagedShard],
    rejections: Sequence[Rejection],
    unreadable: Sequence[Rejection],
    inputs: Sequence[InputShard],
    config: AuditConfig,
) -> dict[str, AuditCheck]:
    shard_reasons = {RejectionReason.SHARD_UNREADABLE, RejectionReason.SHARD_EMPTY, RejectionReason.SHARD_TRUNCATED}
    refused = [item for item in rejections if item.reason not in REPAIRS and item.reason not in shard_reasons]
    readable = sum(item.readable for item in staged)
    lost = {(item.dataset, item.shard): f"{item.dataset}/{item.shard}: {item.detail}" for item in unreadable}
    return {
        "rejected_share": _share(
            "rejected_share",
            [f"{item.dataset}/{item.shard}/{item.key}: {item.reason} {item.detail}" for item in refused],
            readable + len(refused),
            config.max_rejected_share,
        ),
        "unreadable_share": _share("unreadable_share", list(lost.values()), len(inputs), config.max_unreadable_share),
    }


def _quantile_check(now: Mapping[str, Quantiles], before: Mapping[str, Quantiles], config: AuditConfig) -> AuditCheck:
    """The distribution as a whole: no row may rise, but new and carried-over rows have nothing to be held to."""
    measure = "kp2d_error"
    if measure not in now or measure not in before:
        return AuditCheck(name="error_quantiles", failures=0, figures="nothing to compare with")
    worse, compared = [], []
    for quantile in JUDGED_QUANTILES:
        found, parent = getattr(now[measure], quantile), getattr(before[measure], quantile)
        compared.append(f"{quantile} {found:.4g} (parent {parent:.4g}, at most {config.quantile_tolerance:.0%} more)")
        if found > parent * (1 + config.quantile_tolerance) + config.error_tolerance:
            worse.append(f"{quantile} of {measure}: {found:.6g}, in the parent generation {parent:.6g}")
    return AuditCheck(
        name="error_quantiles", failures=len(worse), figures=f"{measure} {', '.join(compared)}", examples=tuple(worse)
    )


def _share(name: str, refused: Sequence[str], total: int, limit: float) -> AuditCheck:
    share = len(refused) / total if total else 0.0
    figures = f"{len(refused)} of {total} = {share:.1%}, at most {limit:.1%}"
    too_many = share > limit
    examples = tuple(refused[:EXAMPLES]) if too_many else ()
    return AuditCheck(name=name, failures=len(refused) if too_many else 0, figures=figures, examples=examples)


def _unaccounted(
    staged: Sequence[StagedShard],
    unreadable: Sequence[Rejection],
    inputs: Sequence[InputShard],
    parent_files: Mapping[tuple[str, str], str],
) -> list[str]:
    """A shard of the parent that is no input any more may be staged: its rows are carried over."""
    expected = Counter((item.dataset, item.shard) for item in inputs)
    found = Counter((item.dataset, item.shard) for item in staged)
    accounted = found.keys() | {(item.dataset, item.shard) for item in unreadable}
    problems = [f"{d}/{s}: neither staged nor failed" for d, s in sorted(expected.keys() - accounted)]
    problems += [f"{d}/{s}: no input" for d, s in sorted(accounted - expected.keys() - parent_files.keys())]
    twice = (expected | found) - Counter(accounted | expected.keys())
    return problems + [f"{d}/{s}: listed {n + 1} times" for (d, s), n in sorted(twice.items())]


def _recorded(rejection: Rejection, staged: Mapping[tuple[str, str], StagedShard]) -> bool:
    """A shard carried over from the parent lists its own rejection in its sidecar: count it once."""
    item = staged.get((rejection.dataset, rejection.shard))
    return item is not None and rejection in item.rejections


def _gather(failures: dict[str, tuple[int, tuple[str, ...]]], audit: ShardAudit) -> None:
    for name, (count, examples) in audit.failures.items():
        total, seen = failures.get(name, (0, ()))
        failures[name] = (total + count, (seen + examples)[:EXAMPLES])


def _add(failures: dict[str, tuple[int, tuple[str, ...]]], name: str, problems: Sequence[str]) -> None:
    if problems:
        count, examples = failures.get(name, (0, ()))
        failures[name] = (count + len(problems), (*examples, *problems)[:EXAMPLES])


def _check(name: str, failures: int, examples: tuple[str, ...]) -> AuditCheck:
    return AuditCheck(name=name, failures=failures, figures=f"{failures} failed" if failures else "", examples=examples)


def _total(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def _not_finite(column: pa.ChunkedArray) -> Mask:
    """True where a figure is there, but NaN or infinite."""
    return mask(column.is_valid()) & ~np.isfinite(figures(column))
