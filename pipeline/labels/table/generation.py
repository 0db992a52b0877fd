"""A published generation, as its tag and snapshot describe it, and the files it consists of."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import StringType

from pipeline.labels.files.lineage import PROPERTY_PREFIX, Forced, Quantiles
from pipeline.storage.s3 import explained
from pipeline.storage.storage import Storage
from schemas.input_shard import ShardId

_TAG: Final = re.compile(r"round-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The complete label table of one round. `snapshot_id` pins its content for ever."""

    round: int
    run_id: str
    snapshot_id: int
    parent_snapshot_id: int | None
    parent_run_id: str | None
    published: datetime
    rows: int
    files: int
    file_bytes: int
    decisions: Mapping[str, int]
    rejections: Mapping[str, int]
    metrics: Mapping[str, Quantiles]
    checkpoint_uri: str | None
    config_digest: str
    code_revision: str
    body_source: str
    lineage_file: str
    lineage_sha256: str
    content_digest: str | None
    forced: Forced | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageFile:
    """Where a lineage lies below the root, and the checksum by which it was published."""

    file: str
    sha256: str


EXPIRED_PREFIX: Final = "labels.expired."
"""First part of the table properties that keep the lineage of expired generations, by snapshot."""


def round_tag(round: int) -> str:
    return f"round-{round}"


def published_rounds(table: Table) -> dict[int, Snapshot]:
    """Round -> snapshot of every published generation, in order of rounds."""
    found: dict[int, Snapshot] = {}
    for name, ref in table.metadata.refs.items():
        match = _TAG.fullmatch(name)
        if match and ref.snapshot_ref_type == SnapshotRefType.TAG:
            snapshot = table.metadata.snapshot_by_id(ref.snapshot_id)
            if snapshot is not None:
                found[int(match[1])] = snapshot
    return dict(sorted(found.items()))


def lineage_files(table: Table) -> dict[int, LineageFile]:
    """Snapshot -> lineage of every generation, published, withdrawn or expired."""
    found = {
        int(name.removeprefix(EXPIRED_PREFIX)): LineageFile(**json.loads(value))
        for name, value in table.metadata.properties.items()
        if name.startswith(EXPIRED_PREFIX)
    }
    for snapshot in table.metadata.snapshots:
        summary = _summary(snapshot)
        if file := summary.get(PROPERTY_PREFIX + "lineage-file"):
            sha256 = summary[PROPERTY_PREFIX + "lineage-sha256"]
            found[snapshot.snapshot_id] = LineageFile(file=file, sha256=sha256)
    return found


def describe(round: int, snapshot: Snapshot) -> Generation:
    """What the snapshot's own properties say; reads no file."""
    summary = _summary(snapshot)

    def fact(name: str) -> str | None:
        return summary.get(PROPERTY_PREFIX + name)

    parent = fact("parent-snapshot-id")
    return Generation(
        round=round,
        run_id=fact("run-id") or "",
        snapshot_id=snapshot.snapshot_id,
        parent_snapshot_id=None if parent is None else int(parent),
        parent_run_id=fact("parent-run-id"),
        published=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        rows=int(summary.get("added-records", 0)),
        files=int(summary.get("added-data-files", 0)),
        file_bytes=int(summary.get("added-files-size", 0)),
        decisions=json.loads(fact("decisions") or "{}"),
        rejections=json.loads(fact("rejections") or "{}"),
        metrics={name: Quantiles(**item) for name, item in json.loads(fact("metrics") or "{}").items()},
        checkpoint_uri=fact("checkpoint-uri"),
        config_digest=fact("config-digest") or "",
        code_revision=fact("code-revision") or "",
        body_source=fact("body-source") or "",
        lineage_file=fact("lineage-file") or "",
        lineage_sha256=fact("lineage-sha256") or "",
        content_digest=fact("content-digest"),
        forced=Forced(**json.loads(forced)) if (forced := fact("forced")) else None,
    )


def added_files(table: Table, snapshot: Snapshot) -> list[DataFile]:
    """The files a snapshot added: a generation is one append, so these are all of its files and no others."""
    with explained(table.location()):
        manifests = [m for m in snapshot.manifests(table.io) if m.added_snapshot_id == snapshot.snapshot_id]
        return [entry.data_file for m in manifests for entry in m.fetch_manifest_entry(table.io)]


def planned_files(table: Table, snapshot: Snapshot, storage: Storage) -> dict[ShardId, str]:
    """Shard -> path or URL of the label file, in order."""
    shard_id = table.schema().find_field("shard").field_id
    plan: dict[ShardId, str] = {}
    for file in added_files(table, snapshot):
        shard = from_bytes(StringType(), file.lower_bounds[shard_id])  # a file holds one shard: lower = upper bound
        plan[ShardId(str(file.partition[1]), str(shard))] = storage.url(storage.name(file.file_path))
    return dict(sorted(plan.items()))


def _summary(snapshot: Snapshot) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary is not None else {}
