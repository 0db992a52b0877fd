"""The audit: is a staged generation complete, consistent and no worse than its parent? Reads one shard at a time.

`audit_shard` judges one shard's table; `audit_generation` streams all shards through it and adds what only the whole
can tell.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.labels.files.lineage import Quantiles
from pipeline.labels.files.staging import StagedShard, corruption, decode, read_labels
from pipeline.labels.publishing.audit_config import AuditConfig
from pipeline.labels.publishing.audit_report import CHECKS, EXAMPLES, AuditCheck, AuditReport
from pipeline.labels.publishing.generation_checks import (
    MAX_OTHER_CAMERAS,
    heldout_check,
    quantile_check,
    share_checks,
    unaccounted,
)
from pipeline.labels.publishing.quantile_sketch import QuantileSketch
from pipeline.labels.publishing.shard_audit import PARENT_COLUMNS, QUANTILE_COLUMNS, ShardAudit, audit_shard
from pipeline.storage.storage import Storage
from schemas.input_shard import InputShard, ShardId
from schemas.person import Rejection


def audit_generation(
    storage: Storage,
    staged: Sequence[StagedShard],
    unreadable: Sequence[Rejection],
    inputs: Sequence[InputShard],
    parent_files: Mapping[ShardId, str],
    config: AuditConfig,
    parent_metrics: Mapping[str, Quantiles] | None = None,
) -> AuditReport:
    """Audit all staged shards of a run against its inputs, the files and the error quantiles of the parent generation.

    `unreadable`: one rejection per shard that could not be read; such a shard may still have been staged with the
    parent's rows. Holds a few files in memory at a time and nothing per row, however many shards there are.
    """
    by_shard = {item.id: item for item in staged}

    def audit_one(item: StagedShard) -> ShardAudit:
        return _audit_file(storage, item, parent_files.get(item.id), config)

    failures: dict[str, tuple[int, tuple[str, ...]]] = {}
    genders: Counter[str] = Counter()
    sketches, other_camera = {name: QuantileSketch() for name in QUANTILE_COLUMNS}, 0
    heldout_before, heldout_now = QuantileSketch(), QuantileSketch()
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for audit in pool.map(audit_one, staged):
            _gather(failures, audit)
            other_camera += audit.other_camera
            genders.update(audit.genders)
            for name, values in audit.figures.items():
                sketches[name].add(values)
            heldout_before.add(audit.heldout[0])
            heldout_now.add(audit.heldout[1])
    missing = [shard for shard in parent_files if shard not in by_shard]
    _add(failures, "parent_rows_present", [f"{shard}: the whole shard" for shard in missing])
    _add(failures, "inputs_accounted", unaccounted(staged, unreadable, inputs, parent_files))
    rows = sum(item.rows for item in staged)
    if not rows:
        _add(failures, "not_empty", [f"{len(staged)} shards staged, {len(unreadable)} unreadable"])
    rejections = [rejection for item in staged for rejection in item.rejections] + [
        rejection for rejection in unreadable if not _recorded(rejection, by_shard)
    ]
    metrics = {name: found for name, sketch in sketches.items() if (found := sketch.quantiles())}
    judged = share_checks(staged, rejections, unreadable, inputs, config)
    before = (parent_metrics or {}) if other_camera <= MAX_OTHER_CAMERAS * rows else {}
    judged["error_quantiles"] = quantile_check(metrics, before, config)
    judged["heldout_quantiles"] = heldout_check(heldout_now.quantiles(), heldout_before.quantiles(), config)
    checks = [judged.get(name) or _check(name, *failures.get(name, (0, ()))) for name in CHECKS]
    return AuditReport(
        checks=tuple(checks),
        rows=rows,
        decisions=_total(item.decisions for item in staged),
        genders=dict(sorted(genders.items())),
        rejections=_total([Counter(str(rejection.reason) for rejection in rejections)]),
        unreadable_shards=tuple(sorted({str(item.shard_id) for item in unreadable})),
        metrics=metrics,
    )


def _audit_file(storage: Storage, item: StagedShard, parent_url: str | None, config: AuditConfig) -> ShardAudit:
    try:
        data = storage.read(item.data_file)
    except FileNotFoundError:
        return ShardAudit(failures={"files_intact": (1, (f"{item.data_file}: missing",))}, figures={})
    if problem := corruption(item, data):
        return ShardAudit(failures={"files_intact": (1, (f"{item.data_file}: {problem}",))}, figures={})
    parent = None if parent_url is None else read_labels(parent_url, PARENT_COLUMNS)
    return audit_shard(decode(data), item, parent, config)


def _recorded(rejection: Rejection, staged: Mapping[ShardId, StagedShard]) -> bool:
    """A shard carried over from the parent lists its own rejection in its sidecar: count it once."""
    item = staged.get(rejection.shard_id)
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
