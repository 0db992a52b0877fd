"""Withdrawn generations: taken from the readers by a rollback, or because they were bad; files stay until expire."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from pipeline.labels.table.generation import Generation, describe

RECORD_PREFIX: Final = "labels.withdrawn."
_TAG: Final = re.compile(r"(retired|forgotten)-round-(\d+)-(.+)")


class Withdrawal(StrEnum):
    """How a generation was withdrawn; the word begins its tag."""

    RETIRED = "retired"  # by a rollback to an earlier round; its run may publish the round again
    FORGOTTEN = "forgotten"  # because its labels are bad; its run may not


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnGeneration:
    """A generation that readers no longer see. `when` is ISO 8601, UTC, by the storage's clock, as expire reads it."""

    generation: Generation
    tag: str
    how: Withdrawal
    when: str
    reason: str


def withdrawn_tag(how: Withdrawal, round: int, run_id: str) -> str:
    return f"{how}-round-{round}-{run_id}"


def withdrawal_record(tag: str, when: datetime, reason: str) -> dict[str, str]:
    """The table property that says when (`Storage.now`) and why; committed together with the tag."""
    return {RECORD_PREFIX + tag: json.dumps({"when": when.isoformat(timespec="seconds"), "reason": reason})}


def withdrawn_snapshots(table: Table) -> dict[str, Snapshot]:
    """Tag -> snapshot of every withdrawn generation whose files are still there."""
    found = {}
    for name, ref in table.metadata.refs.items():
        snapshot = table.metadata.snapshot_by_id(ref.snapshot_id)
        if _TAG.fullmatch(name) and snapshot is not None:
            found[name] = snapshot
    return dict(sorted(found.items(), key=lambda item: item[1].timestamp_ms))


def withdrawn_generations(table: Table) -> list[WithdrawnGeneration]:
    """In the order of their publication."""
    return [
        _described(tag, snapshot, table.metadata.properties) for tag, snapshot in withdrawn_snapshots(table).items()
    ]


def _described(tag: str, snapshot: Snapshot, properties: Mapping[str, str]) -> WithdrawnGeneration:
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f"{tag} is no tag of a withdrawn generation")
    record = json.loads(properties.get(RECORD_PREFIX + tag, '{"when": "", "reason": ""}'))
    return WithdrawnGeneration(
        generation=describe(int(match[2]), snapshot), tag=tag, how=Withdrawal(match[1]), **record
    )
