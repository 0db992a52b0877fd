"""Moving the branches and tags of the label table: every condition stated, all changes in one compare-and-swap."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemovePropertiesUpdate,
    RemoveSnapshotRefUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.table.update.snapshot import ManageSnapshots, Operation

from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.table.catalog import TABLE, LabelCatalog
from pipeline.labels.table.commit_retries import ATTEMPTS, until_committed

WITHDRAWAL_BRANCH: Final = "withdraw-"  # first part of the names of branches that wait to become main
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefChange:
    """A branch or tag that must be at `before` (None: absent) and is moved to `after` (None: removed)."""

    name: str
    before: int | None
    after: int | None
    kind: SnapshotRefType = SnapshotRefType.TAG


def change_refs(
    table: Table,
    changes: Sequence[RefChange],
    *,
    properties: Mapping[str, str] | None = None,
    removed_properties: Sequence[str] = (),
) -> None:
    """All changes in one commit, or none. Raises CommitFailedException when a ref is not where it was expected.

    A pyiceberg transaction would keep only the first condition of a kind (decisions/0001).
    """
    requirements: list[TableRequirement] = [AssertTableUUID(uuid=table.metadata.table_uuid)]
    requirements += [AssertRefSnapshotId(ref=change.name, snapshot_id=change.before) for change in changes]
    updates: list[TableUpdate] = [_update(change) for change in changes if change.before != change.after]
    if properties:
        updates.append(SetPropertiesUpdate(updates=dict(properties)))
    if removed_properties:
        updates.append(RemovePropertiesUpdate(removals=list(removed_properties)))
    table.catalog.commit_table(table, tuple(requirements), tuple(updates))


def main_tip(table: Table) -> int:
    """The snapshot that main points to; the table was created with a first, empty snapshot."""
    return table.metadata.refs[MAIN_BRANCH].snapshot_id


def snapshot_of(table: Table, ref: str) -> Snapshot:
    """Raises LabelStoreError if the branch or tag is not there."""
    found = table.metadata.refs.get(ref)
    snapshot = None if found is None else table.metadata.snapshot_by_id(found.snapshot_id)
    if snapshot is None:
        raise LabelStoreError(f"The label table has no branch or tag {ref}.")
    return snapshot


def rounds_in(table: Table, snapshot: Snapshot) -> set[int]:
    """The rounds that have rows in a snapshot, from its manifest list: a manifest holds files of one round."""
    found: set[int] = set()
    for manifest in snapshot.manifests(table.io):
        if manifest.has_added_files() or manifest.has_existing_files():
            found |= {int(entry.data_file.partition[0]) for entry in manifest.fetch_manifest_entry(table.io)}
    return found


def branch_without(catalog: LabelCatalog, table: Table, base: int, rounds: Collection[int]) -> tuple[Table, RefChange]:
    """A new branch at snapshot `base`, less the rows of `rounds`; no data file is opened.

    Returns the table as it is then, and the change that drops the branch again: `before` is the snapshot to move to.
    Raises CommitFailedException.
    """
    name = f"{WITHDRAWAL_BRANCH}{uuid.uuid4().hex[:12]}"
    transaction = table.transaction()
    ManageSnapshots(transaction).create_branch(base, name).commit()
    transaction.delete(f"round in ({', '.join(str(k) for k in sorted(rounds))})", branch=name)
    try:
        transaction.commit_transaction()
    except ValueError as error:  # pyiceberg's word for a sequence number that another commit has taken
        if table.catalog.load_table(TABLE).metadata_location == table.metadata_location:
            raise
        raise CommitFailedException("another process committed at the same time") from error
    changed = catalog.load_or_create()
    tip = snapshot_of(changed, name)
    summary = tip.summary
    if summary is None or summary.operation is not Operation.DELETE:
        raise LabelStoreError(f"Taking rounds {sorted(rounds)} out would rewrite data files; nothing was changed.")
    return changed, RefChange(name=name, before=tip.snapshot_id, after=None)


def with_retries(attempt: Callable[[], T], what: str) -> T:
    """Call until no other commit comes between. Raises PublishConflictError when others never stop."""
    return until_committed(
        attempt,
        lambda last: (
            f"{what} did not succeed: the table kept changing during {ATTEMPTS} attempts. "
            "Nothing was changed; try again."
        ),
    )


def _update(change: RefChange) -> TableUpdate:
    if change.after is None:
        return RemoveSnapshotRefUpdate(ref_name=change.name)
    return SetSnapshotRefUpdate(ref_name=change.name, snapshot_id=change.after, type=change.kind)
