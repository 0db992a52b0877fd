"""The branch on which a run waits to be published, out of every reader's sight: made, checked, and made main."""

import contextlib
from collections.abc import Sequence
from typing import Final

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots

from pipeline.labels.files.lineage import Lineage
from pipeline.labels.files.staging import StagedShard
from pipeline.labels.publishing.data_file import data_file
from pipeline.labels.table.catalog import TABLE, LabelCatalog
from pipeline.labels.table.generation import added_files, round_tag
from pipeline.labels.table.refs import RefChange, change_refs, main_tip
from pipeline.labels.table.withdrawn import RECORD_PREFIX, Withdrawal, withdrawn_tag
from pipeline.storage.storage import Storage

AUDIT_BRANCH: Final = "audit-round-"  # first part of the names of branches that wait to be published


def audit_branch(round: int, run_id: str) -> str:
    """The branch on which a run waits to be published; no reader looks at it."""
    return f"{AUDIT_BRANCH}{round}-{run_id}"


def create_branch(
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
            append.append_data_file(data_file(table, storage, item))
    append.commit()
    try:
        transaction.commit_transaction()
    except ValueError as error:
        # A snapshot added meanwhile has taken this one's sequence number; pyiceberg reports that as a ValueError.
        if table.catalog.load_table(TABLE).metadata_location == table.metadata_location:
            raise
        raise CommitFailedException("another process committed at the same time") from error
    return append.snapshot_id


def checked_branch(
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


def publish_branch(table: Table, lineage: Lineage, snapshot: Snapshot) -> None:
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


def drop_branch(catalog: LabelCatalog, lineage: Lineage) -> None:
    """Clear away the branch of a run that lost; if others commit at the same time, the winner has done it."""
    name = audit_branch(lineage.round, lineage.run_id)
    table = catalog.load_or_create()
    ref = table.metadata.refs.get(name)
    if ref is None:
        return
    with contextlib.suppress(CommitFailedException):
        change_refs(table, [RefChange(name=name, before=ref.snapshot_id, after=None)])
