"""Rollback: back to the state after round k. Later generations are retired, and their rounds may be published again."""

from datetime import datetime

from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType

from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.store import LabelStore
from pipeline.labels.table.catalog import LabelCatalog
from pipeline.labels.table.generation import describe, published_rounds, round_tag
from pipeline.labels.table.refs import RefChange, branch_without, change_refs, main_tip, rounds_in, with_retries
from pipeline.labels.table.withdrawn import Withdrawal, withdrawal_record, withdrawn_tag


def rollback(store: LabelStore, round: int, reason: str) -> list[int]:
    """Retire every generation after `round`; returns their rounds. Their files stay until they expire.

    Main goes back to the tag round-k, less generations up to k that were forgotten since. Raises
    NoSuchGenerationError, LabelStoreError when no generation comes after, PublishConflictError.
    """

    def attempt() -> list[int]:
        store.generation(round)
        return _rollback(store.catalog, round, reason)

    return with_retries(attempt, f"The rollback to round {round}")


def _rollback(catalog: LabelCatalog, round: int, reason: str) -> list[int]:
    table = catalog.load_or_create()
    published = published_rounds(table)
    later = [k for k in published if k > round]
    if not later:
        raise LabelStoreError(f"Round {round} is the latest generation: there is nothing to roll back.")
    main = main_tip(table)
    changes, properties = _retired(table, later, catalog.storage.now(), reason)
    target = published[round]
    gone = rounds_in(table, target) - published.keys()
    tip = target.snapshot_id
    if gone:
        table, dropped = branch_without(catalog, table, tip, gone)
        changes.append(dropped)
        tip = dropped.before
    changes.append(RefChange(name=MAIN_BRANCH, before=main, after=tip, kind=SnapshotRefType.BRANCH))
    change_refs(table, changes, properties=properties)
    return later


def _retired(table: Table, rounds: list[int], when: datetime, reason: str) -> tuple[list[RefChange], dict[str, str]]:
    """The tags of `rounds`, renamed, and the records of when and why."""
    changes: list[RefChange] = []
    properties: dict[str, str] = {}
    for k, snapshot in published_rounds(table).items():
        if k in rounds:
            tag = withdrawn_tag(Withdrawal.RETIRED, k, describe(k, snapshot).run_id)
            changes.append(RefChange(name=round_tag(k), before=snapshot.snapshot_id, after=None))
            changes.append(RefChange(name=tag, before=None, after=snapshot.snapshot_id))
            properties |= withdrawal_record(tag, when, reason)
    return changes, properties
