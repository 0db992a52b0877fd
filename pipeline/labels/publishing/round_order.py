"""May this run publish its round? Only if nobody has, it was not withdrawn, and its parent is what it started from."""

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from pipeline.labels.files.errors import AlreadyPublishedError, ParentChangedError, RoundOrderError
from pipeline.labels.files.lineage import Lineage
from pipeline.labels.table.generation import Generation, describe, published_rounds
from pipeline.labels.table.withdrawn import Withdrawal, withdrawn_generations


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


def unchanged_parent(table: Table, lineage: Lineage) -> Snapshot | None:
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
