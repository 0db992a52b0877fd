"""Publishing a generation: audit what was staged, register it on a branch of its own, then move main in one commit.

Whenever a publisher dies, readers see either no trace of the round or all of it. Of several publishers of one round
exactly one wins. See docs/decisions/0001-iceberg.md for the protocol and why each step is as it is.
"""

import contextlib
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pyiceberg.conversions import to_bytes
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.typedef import Record
from sqlalchemy.exc import OperationalError

from pipeline.labels.files import layout
from pipeline.labels.files.errors import (
    AlreadyPublishedError,
    ParentChangedError,
    PublishConflictError,
    RoundOrderError,
    StoreFailedError,
)
from pipeline.labels.files.lineage import Forced, Lineage
from pipeline.labels.files.staging import StagedShard
from pipeline.labels.publishing.audit import AuditConfig, AuditFailedError, AuditReport, audit_generation
from pipeline.labels.table.catalog import TABLE, LabelCatalog
from pipeline.labels.table.generation import (
    Generation,
    added_files,
    describe,
    planned_files,
    published_rounds,
    round_tag,
)
from pipeline.labels.table.refs import RefChange, change_refs, main_tip
from pipeline.labels.table.withdrawn import RECORD_PREFIX, Withdrawal, withdrawn_generations, withdrawn_tag
from pipeline.storage.s3 import explained
from pipeline.storage.storage import Storage
from schemas.person import Rejection

AUDIT_BRANCH: Final = "audit-round-"  # first part of the names of branches that wait to be published
_ATTEMPTS: Final = 12


class PublishStep(StrEnum):
    """Reached in this order; told to `on_step`, for progress and for tests that die there."""

    AUDITED = "audited"
    LINEAGE_WRITTEN = "lineage_written"
    BRANCHED = "branched"
    BRANCH_AUDITED = "branch_audited"
    PUBLISHED = "published"


StepHook = Callable[[PublishStep], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The outcome. `already_published`: an earlier attempt of the same run had done it, and nothing was changed now."""

    generation: Generation
    already_published: bool
    report: AuditReport | None


def publish(
    catalog: LabelCatalog,
    lineage: Lineage,
    staged: Sequence[StagedShard],
    unreadable: Sequence[Rejection] = (),
    config: AuditConfig | None = None,
    on_step: StepHook = lambda step: None,
    force: str | None = None,
) -> Publication:
    """Audit the staged shards of a run and make them generation `lineage.round`.

    `unreadable`: one rejection per input shard that could not be read. `force`: the reason to publish although checks
    in `audit.FORCEABLE` fail; it becomes part of the lineage. Raises AuditFailedError (nothing published, the report
    says why), AlreadyPublishedError, ParentChangedError or PublishConflictError.
    """
    if force is not None and not force.strip():
        raise ValueError("force needs a reason in words: it becomes part of the lineage")
    with _failures_explained(lineage.round, catalog.storage):
        return _publish(catalog, lineage, staged, unreadable, config or AuditConfig(), on_step, force)


def _publish(
    catalog: LabelCatalog,
    lineage: Lineage,
    staged: Sequence[StagedShard],
    unreadable: Sequence[Rejection],
    config: AuditConfig,
    on_step: StepHook,
    force: str | None,
) -> Publication:
    table = catalog.load_or_create()
    if earlier := _published_before(table, lineage):
        return earlier
    parent = _parent(table, lineage)
    parent_files = planned_files(table, parent, catalog.storage) if parent is not None else {}
    parent_metrics = describe(lineage.round - 1, parent).metrics if parent is not None else {}
    report = audit_generation(catalog.storage, staged, unreadable, lineage.inputs, parent_files, config, parent_metrics)
    if not report.passed and not (force and report.forceable):
        raise AuditFailedError(lineage.round, report)
    on_step(PublishStep.AUDITED)
    properties = _write_lineage(catalog.storage, _completed(lineage, report, staged, force))
    on_step(PublishStep.LINEAGE_WRITTEN)
    return _register(catalog, lineage, staged, properties, report, on_step)


@contextlib.contextmanager
def _failures_explained(round: int, storage: Storage) -> Iterator[None]:
    """Raises StoreFailedError where the disk is full or read-only, or S3 does not answer."""
    try:
        with explained(storage.root):
            yield
    except OSError as error:
        raise StoreFailedError(
            f"Round {round} could not be published under {storage.root}: {error}. Readers see nothing of it. "
            "When that is mended, start the round again: finished shards are reused."
        ) from error


def audit_branch(round: int, run_id: str) -> str:
    """The branch on which a run waits to be published; no reader looks at it."""
    return f"{AUDIT_BRANCH}{round}-{run_id}"


def _register(
    catalog: LabelCatalog,
    lineage: Lineage,
    staged: Sequence[StagedShard],
    properties: dict[str, str],
    report: AuditReport,
    on_step: StepHook,
) -> Publication:
    """Branch, audit the branch, publish; again from the start when another commit came between."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        table = catalog.load_or_create()
        try:
            if earlier := _published_before(table, lineage):
                return replace(earlier, report=report)
            _parent(table, lineage)
            snapshot_id = _branch(table, lineage, catalog.storage, staged, properties)
            on_step(PublishStep.BRANCHED)
            table = catalog.load_or_create()  # the one handle of steps 3 and 4
            snapshot = _audit_branch(table, lineage, catalog.storage, staged, snapshot_id)
            on_step(PublishStep.BRANCH_AUDITED)
            _publish_branch(table, lineage, snapshot)
        except (CommitFailedException, OperationalError) as error:
            reason = "the table kept changing"
            if isinstance(error, OperationalError):
                reason = f"the catalog {catalog.uri} refuses: {error.orig}"
            time.sleep(random.uniform(0.02, 0.1) * (attempt + 1))
            continue
        except AlreadyPublishedError:
            _drop_branch(catalog, lineage)
            raise
        on_step(PublishStep.PUBLISHED)
        generation = describe(lineage.round, snapshot)
        return Publication(generation=generation, already_published=False, report=report)
    raise PublishConflictError(
        f"Round {lineage.round} could not be published in {_ATTEMPTS} attempts: {reason}. Readers see nothing of it. "
        "Start the round again; its finished shards are reused."
    )


def published_by(table: Table, round: int, run_id: str) -> Generation | None:
    """The generation, if this very run has published it; None if the round is free.

    Raises AlreadyPublishedError if another run has, RoundOrderError for a forgotten run, or if a later round is there.
    """
    published = published_rounds(table)
    if round not in published:
        _refuse_withdrawn(table, round, run_id, max(published, default=-1))
        return None
    generation = describe(round, published[round])
    if generation.run_id == run_id:
        return generation
    raise AlreadyPublishedError(
        f"Round {round} was published on {generation.published:%Y-%m-%d %H:%M} UTC by run {generation.run_id}, from "
        f"other inputs, settings or bodies; run {run_id} changes nothing. A generation never changes. Continue with "
        f"round {round + 1}, or use another storage.root."
    )


def _published_before(table: Table, lineage: Lineage) -> Publication | None:
    generation = published_by(table, lineage.round, lineage.run_id)
    return None if generation is None else Publication(generation=generation, already_published=True, report=None)


def _refuse_withdrawn(table: Table, round: int, run_id: str, latest: int) -> None:
    for item in withdrawn_generations(table):
        same_run = item.generation.round == round and item.generation.run_id == run_id
        if item.how is Withdrawal.FORGOTTEN and same_run:
            raise RoundOrderError(
                f"Run {run_id} of round {round} was forgotten on {item.when}: {item.reason}. The same inputs and "
                "settings give the same labels: change them."
            )
    if latest > round:
        raise RoundOrderError(
            f"Round {round} is not there any more (forgotten or expired), and round {latest} was made after it. "
            f"Continue with round {latest + 1}, or roll back first: "
            f"python jobs/manage_labels.py rollback {max(round - 1, 0)}"
        )


def _parent(table: Table, lineage: Lineage) -> Snapshot | None:
    """The snapshot of round k-1, which must be the one the run started from. Raises ParentChangedError."""
    parent = published_rounds(table).get(lineage.round - 1)
    found = None if parent is None else parent.snapshot_id
    if lineage.round > 0 and parent is None:
        raise ParentChangedError(f"Round {lineage.round} needs round {lineage.round - 1}, which is not published.")
    if found != lineage.parent_snapshot_id:
        raise ParentChangedError(
            f"Round {lineage.round} was computed from snapshot {lineage.parent_snapshot_id}, but round "
            f"{lineage.round - 1} is now snapshot {found}. Start the round again."
        )
    return parent


def content_digest(staged: Sequence[StagedShard]) -> str:
    """SHA-256 (hex) over the checksums of all label files of a generation, whatever their order."""
    content = sorted((item.dataset, item.shard, item.sha256) for item in staged)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _completed(lineage: Lineage, report: AuditReport, staged: Sequence[StagedShard], force: str | None) -> Lineage:
    overruled = {check.name: "; ".join((check.figures, *check.examples)) for check in report.failed}
    return replace(
        lineage,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=report.rows,
        decisions=report.decisions,
        rejections=report.rejections,
        unreadable_shards=report.unreadable_shards,
        metrics=report.metrics,
        content_digest=content_digest(staged),
        forced=Forced(reason=force, checks=overruled) if force and overruled else None,
    )


def _write_lineage(storage: Storage, lineage: Lineage) -> dict[str, str]:
    """Write the lineage file; returns the snapshot properties that point to it."""
    data = lineage.to_json()
    digest = hashlib.sha256(data).hexdigest()
    name = layout.lineage_file(lineage.round, lineage.run_id, digest)
    storage.write(name, data)
    return lineage.properties(name, digest)


def _branch(
    table: Table, lineage: Lineage, storage: Storage, staged: Sequence[StagedShard], properties: dict[str, str]
) -> int:
    """Create the branch from main and append the files to it, in one commit; returns the snapshot's id.

    What a killed attempt of the same run left under the branch's name is replaced.
    """
    name = audit_branch(lineage.round, lineage.run_id)
    transaction = table.transaction()
    if name in table.metadata.refs:
        ManageSnapshots(transaction).remove_branch(name).commit()
    ManageSnapshots(transaction).create_branch(main_tip(table), name).commit()
    append = transaction.update_snapshot(snapshot_properties=properties, branch=name).fast_append()
    for item in staged:
        if item.rows:
            append.append_data_file(_data_file(table, storage, item))
    append.commit()
    try:
        transaction.commit_transaction()
    except ValueError as error:
        # A snapshot added meanwhile has taken this one's sequence number; pyiceberg reports that as a ValueError.
        if table.catalog.load_table(TABLE).metadata_location == table.metadata_location:
            raise
        raise CommitFailedException("another process committed at the same time") from error
    return append.snapshot_id


def _data_file(table: Table, storage: Storage, staged: StagedShard) -> DataFile:
    """The file as the sidecar describes it: nothing is opened, so registering thousands takes a second."""
    values = {"round": staged.round, "dataset": staged.dataset, "shard": staged.shard}
    fields = {table.schema().find_field(name): value for name, value in values.items()}
    bounds = {field.field_id: to_bytes(field.field_type, value) for field, value in fields.items()}
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"{storage.uri}/{staged.data_file}",
        file_format=FileFormat.PARQUET,
        partition=Record(staged.round, staged.dataset),
        record_count=staged.rows,
        file_size_in_bytes=staged.file_bytes,
        value_counts={field.field_id: staged.rows for field in fields},
        null_value_counts={field.field_id: 0 for field in fields},
        lower_bounds=bounds,
        upper_bounds=bounds,
        spec_id=table.metadata.default_spec_id,
    )


def _audit_branch(
    table: Table, lineage: Lineage, storage: Storage, staged: Sequence[StagedShard], snapshot_id: int
) -> Snapshot:
    """The branch must hold main plus exactly the files whose content was audited. Raises CommitFailedException."""
    branch = audit_branch(lineage.round, lineage.run_id)
    snapshot = table.metadata.snapshot_by_id(snapshot_id)
    ref = table.metadata.refs.get(branch)
    if snapshot is None or ref is None or ref.snapshot_id != snapshot_id:
        raise CommitFailedException(f"{branch} was replaced by another publisher of the same run")
    if snapshot.parent_snapshot_id != main_tip(table):
        raise CommitFailedException(f"main has moved since {branch} was created")
    expected = {(f"{storage.uri}/{item.data_file}", item.rows, item.file_bytes) for item in staged if item.rows}
    files = added_files(table, snapshot)
    found = {(file.file_path, file.record_count, file.file_size_in_bytes) for file in files}
    if found != expected or len(files) != len(expected):
        raise CommitFailedException(f"{branch} holds {len(files)} files, {len(expected)} were audited")
    return snapshot


def _publish_branch(table: Table, lineage: Lineage, snapshot: Snapshot) -> None:
    """Tag the snapshot, move main to it and drop the audit branches of the round, in one compare-and-swap.

    A pyiceberg transaction would, on a reloaded handle, accept and move an existing tag.
    """
    branch, tag = audit_branch(lineage.round, lineage.run_id), round_tag(lineage.round)
    main, parent = snapshot.parent_snapshot_id, lineage.parent_snapshot_id
    changes = [
        RefChange(name=tag, before=None, after=snapshot.snapshot_id),
        RefChange(name=MAIN_BRANCH, before=main, after=snapshot.snapshot_id, kind=SnapshotRefType.BRANCH),
        RefChange(name=branch, before=snapshot.snapshot_id, after=None),
    ]
    if parent is not None:
        changes.append(RefChange(name=round_tag(lineage.round - 1), before=parent, after=parent))
    # Branches of other runs of this round can never be published any more; and the same run, retired by a rollback,
    # is no longer retired: its files are those of the new generation.
    retired = withdrawn_tag(Withdrawal.RETIRED, lineage.round, lineage.run_id)
    others = [name for name in table.metadata.refs if name.startswith(audit_branch(lineage.round, ""))]
    others += [retired] if retired in table.metadata.refs else []
    changes += [
        RefChange(name=name, before=table.metadata.refs[name].snapshot_id, after=None)
        for name in others
        if name != branch
    ]
    change_refs(table, changes, removed_properties=[RECORD_PREFIX + retired] if retired in others else [])


def _drop_branch(catalog: LabelCatalog, lineage: Lineage) -> None:
    """Clear away the branch of a run that lost; if others commit at the same time, the winner has done it."""
    name = audit_branch(lineage.round, lineage.run_id)
    table = catalog.load_or_create()
    ref = table.metadata.refs.get(name)
    if ref is None:
        return
    with contextlib.suppress(CommitFailedException):
        change_refs(table, [RefChange(name=name, before=ref.snapshot_id, after=None)])
