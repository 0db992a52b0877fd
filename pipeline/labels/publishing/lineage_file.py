"""The lineage of a generation, completed by its audit and written to the file that its snapshot points to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.labels.files import layout
from pipeline.labels.files.lineage import Forced, Lineage
from pipeline.labels.files.staging import StagedShard
from pipeline.labels.publishing.audit_report import AuditReport
from pipeline.storage.storage import Storage


def content_digest(staged: Sequence[StagedShard]) -> str:
    """SHA-256 (hex) over the checksums of all label files of a generation, whatever their order."""
    content = sorted((item.dataset, item.shard, item.sha256) for item in staged)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def completed(lineage: Lineage, report: AuditReport, staged: Sequence[StagedShard], force: str | None) -> Lineage:
    """The lineage with what came out; `force`: why the failed checks of the report were overruled."""
    overruled = {check.name: "; ".join((check.figures, *check.examples)) for check in report.failed}
    return replace(
        lineage,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=report.rows,
        decisions=report.decisions,
        genders=report.genders,
        rejections=report.rejections,
        unreadable_shards=report.unreadable_shards,
        metrics=report.metrics,
        content_digest=content_digest(staged),
        forced=Forced(reason=force, checks=overruled) if force and overruled else None,
    )


def write_lineage(storage: Storage, lineage: Lineage) -> dict[str, str]:
    """Write the lineage file; returns the snapshot properties that point to it."""
    data = lineage.to_json()
    digest = hashlib.sha256(data).hexdigest()
    name = layout.lineage_file(lineage.round, lineage.run_id, digest)
    storage.write(name, data)
    return lineage.properties(name, digest)
