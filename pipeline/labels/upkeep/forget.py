"""Forgetting a bad generation: a tombstone. Nobody sees it any more, its run may not be published again."""

from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType

from pipeline.labels.files.errors import NoSuchGenerationError, RoundOrderError
from pipeline.labels.store import LabelStore
from pipeline.labels.table.catalog import LabelCatalog
from pipeline.labels.table.generation import describe, published_rounds, round_tag
from pipeline.labels.table.refs import RefChange, branch_without, change_refs, main_tip, with_retries
from pipeline.labels.table.withdrawn import Withdrawal, withdrawal_record, withdrawn_tag


def forget(
    store: LabelStore, round: int, reason: str, *, with_children: bool = False, keep_children: bool = False
) -> list[int]:
    """Hide generation `round` from all readers, its rows taken out of main; returns the rounds forgotten.

    The files stay until they expire. Later generations were made from it: either they are forgotten too
    (`with_children`), or they stay as they are (`keep_children`; each is complete in itself, its lineage names the
    forgotten parent, and the round is never filled again while they are there). Raises RoundOrderError when there are
    later generations and neither is said, NoSuchGenerationError, PublishConflictError.
    """

    def attempt() -> list[int]:
        store.generation(round)
        return _forget(store.catalog, round, reason, with_children, keep_children)

    return with_retries(attempt, f"Forgetting round {round}")


def _forget(catalog: LabelCatalog, round: int, reason: str, with_children: bool, keep_children: bool) -> list[int]:
    table = catalog.load_or_create()
    published = published_rounds(table)
    if round not in published:  # it was a moment ago
        raise NoSuchGenerationError(f"Round {round} is not published any more: somebody has withdrawn it meanwhile.")
    children = [k for k in published if k > round]
    if children and not (with_children or keep_children):
        raise RoundOrderError(
            f"Rounds {', '.join(map(str, children))} were made from round {round}. Say whether they are forgotten too "
            "(--with-children) or stay (--keep-children)."
        )
    forgotten = [round, *children] if with_children else [round]
    main = main_tip(table)
    table, dropped = branch_without(catalog, table, main, forgotten)
    moved = RefChange(name=MAIN_BRANCH, before=main, after=dropped.before, kind=SnapshotRefType.BRANCH)
    changes = [dropped, moved]
    properties: dict[str, str] = {}
    when = catalog.storage.now()
    for k in forgotten:
        snapshot = published[k]
        tag = withdrawn_tag(Withdrawal.FORGOTTEN, k, describe(k, snapshot).run_id)
        changes.append(RefChange(name=round_tag(k), before=snapshot.snapshot_id, after=None))
        changes.append(RefChange(name=tag, before=None, after=snapshot.snapshot_id))
        properties |= withdrawal_record(tag, when, reason)
    change_refs(table, changes, properties=properties)
    return forgotten
