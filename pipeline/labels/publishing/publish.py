"""Publishing a generation: audit what was staged, register it on a branch of its own, then move main in one commit.

Whenever a publisher dies, readers see either no trace of the round or all of it. Of several publishers of one round
exactly one wins. See docs/decisions/0001-iceberg.md for the protocol and why each step is as it is.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError

from pipeline.labels.files.errors import AlreadyPublishedError, StoreFailedError
from pipeline.labels.files.lineage import Lineage
from pipeline.labels.files.staging import StagedShard
from pipeline.labels.publishing.audit import audit_generation
from pipeline.labels.publishing.audit_branch import checked_branch, create_branch, drop_branch, publish_branch
from pipeline.labels.publishing.audit_config import AuditConfig
from pipeline.labels.publishing.audit_report import AuditFailedError, AuditReport
from pipeline.labels.publishing.lineage_file import completed, write_lineage
from pipeline.labels.publishing.publication import Publication, PublishStep, StepHook
from pipeline.labels.publishing.round_order import published_by, unchanged_parent
from pipeline.labels.table.catalog import LabelCatalog
from pipeline.labels.table.commit_retries import ATTEMPTS, until_committed
from pipeline.labels.table.generation import describe, planned_files
from pipeline.storage.s3 import explained
from pipeline.storage.storage import Storage
from schemas.person import Rejection


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
    in `audit_report.FORCEABLE` fail; it becomes part of the lineage. Raises AuditFailedError (nothing published, the
    report says why), AlreadyPublishedError, ParentChangedError or PublishConflictError.
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
    parent = unchanged_parent(table, lineage)
    parent_files = planned_files(table, parent, catalog.storage) if parent is not None else {}
    parent_metrics = describe(lineage.round - 1, parent).metrics if parent is not None else {}
    report = audit_generation(catalog.storage, staged, unreadable, lineage.inputs, parent_files, config, parent_metrics)
    if not report.passed and not (force and report.forceable):
        raise AuditFailedError(lineage.round, report)
    on_step(PublishStep.AUDITED)
    properties = write_lineage(catalog.storage, completed(lineage, report, staged, force))
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


def _register(
    catalog: LabelCatalog,
    lineage: Lineage,
    staged: Sequence[StagedShard],
    properties: dict[str, str],
    report: AuditReport,
    on_step: StepHook,
) -> Publication:
    """Branch, audit the branch, publish; again from the start when another commit came between."""

    def attempt() -> Publication:
        table = catalog.load_or_create()
        if earlier := _published_before(table, lineage):
            return replace(earlier, report=report)
        unchanged_parent(table, lineage)
        snapshot_id = create_branch(table, lineage, catalog.storage, staged, properties)
        on_step(PublishStep.BRANCHED)
        table = catalog.load_or_create()  # the one handle of the last two steps
        snapshot = checked_branch(table, lineage, catalog.storage, staged, snapshot_id)
        on_step(PublishStep.BRANCH_AUDITED)
        publish_branch(table, lineage, snapshot)
        on_step(PublishStep.PUBLISHED)
        generation = describe(lineage.round, snapshot)
        return Publication(generation=generation, already_published=False, report=report)

    def gave_up(last: BaseException | None) -> str:
        reason = "the table kept changing"
        if isinstance(last, OperationalError):
            reason = f"the catalog {catalog.uri} refuses: {last.orig}"
        return (
            f"Round {lineage.round} could not be published in {ATTEMPTS} attempts: {reason}. "
            "Readers see nothing of it. Start the round again; its finished shards are reused."
        )

    try:
        return until_committed(attempt, gave_up)
    except AlreadyPublishedError:
        drop_branch(catalog, lineage)
        raise


def _published_before(table: Table, lineage: Lineage) -> Publication | None:
    generation = published_by(table, lineage.round, lineage.run_id)
    return None if generation is None else Publication(generation=generation, already_published=True, report=None)
