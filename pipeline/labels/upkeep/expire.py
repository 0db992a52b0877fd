"""Expire: delete what no reader needs any more, old enough that no running round can need it either.

That is withdrawn generations, live ones before a given round (only when asked), their reports, runs that were never
published, what killed writers left behind, and Iceberg metadata that nothing points to. First the catalog forgets, then
files go.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot

from pipeline.labels.files import layout
from pipeline.labels.files.errors import LabelStoreError, RoundBusyError
from pipeline.labels.files.round_lock import RoundLock
from pipeline.labels.publishing.audit_branch import AUDIT_BRANCH
from pipeline.labels.store import LabelStore
from pipeline.labels.table.generation import (
    EXPIRED_PREFIX,
    LineageFile,
    describe,
    lineage_files,
    published_rounds,
    round_tag,
)
from pipeline.labels.table.refs import WITHDRAWAL_BRANCH, RefChange, branch_without, change_refs, main_tip, with_retries
from pipeline.labels.table.withdrawn import Withdrawal, withdrawn_generations
from pipeline.storage.storage import TEMPORARY_SUFFIX, Storage, StoredFile, UnfinishedUpload

DEFAULT_AGE: Final = timedelta(days=7)

Run = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What was deleted, or would be. `generations` are tags; `runs` the folders; `skipped` says why something stays."""

    generations: tuple[str, ...]
    snapshots: int
    runs: tuple[str, ...]
    files: tuple[StoredFile, ...]
    uploads: tuple[UnfinishedUpload, ...]
    skipped: tuple[str, ...]


def expire(
    store: LabelStore, *, older_than: timedelta = DEFAULT_AGE, before_round: int | None = None, dry_run: bool = False
) -> Expired:
    """Delete what is older than `older_than` and needed by nobody; `dry_run` only says what that is.

    `before_round`: live generations of earlier rounds go too. Files of generations that stay are never touched, and
    the lineage of those that go is kept. Raises LabelStoreError when `before_round` would leave no generation.
    """
    cutoff = store.storage.now() - older_than
    table = store.catalog.load()
    tags = {} if table is None else _expired_tags(table, cutoff, before_round)
    if table is not None and not dry_run:
        with_retries(lambda: _drop_refs(store, cutoff, before_round), "Expiring")
        _drop_snapshots(store, cutoff, [snapshot.snapshot_id for snapshot in tags.values()])
    left = None if table is None else store.catalog.load()
    snapshots = 0 if table is None or left is None else len(table.metadata.snapshots) - len(left.metadata.snapshots)
    garbage = _garbage(store.storage, left, set(tags), cutoff)
    skipped = [] if dry_run else _delete(store, garbage)
    uploads = tuple(item for item in store.storage.unfinished_uploads() if item.initiated < cutoff)
    if not dry_run:
        for item in uploads:
            store.storage.abort_upload(item)
    kept = tuple(run for run in garbage if run in {name for name, _ in skipped})
    gone = {run: files for run, files in garbage.items() if run not in kept}
    return Expired(
        generations=tuple(tags),
        snapshots=snapshots,
        runs=tuple(run for run in gone if run),
        files=tuple(file for files in gone.values() for file in files),
        uploads=uploads,
        skipped=tuple(reason for _, reason in skipped),
    )


def _expired_tags(table: Table, cutoff: datetime, before_round: int | None) -> dict[str, Snapshot]:
    """Tag -> snapshot of the generations that go."""
    published = published_rounds(table)
    tags: dict[str, Snapshot] = {}
    for item in withdrawn_generations(table):
        snapshot = table.metadata.snapshot_by_id(item.generation.snapshot_id)
        if snapshot is not None and (not item.when or datetime.fromisoformat(item.when) < cutoff):
            tags[item.tag] = snapshot
    if before_round is not None:
        if published and before_round > max(published):
            raise LabelStoreError(f"No generation would be left: the latest is round {max(published)}.")
        old = {k: s for k, s in published.items() if k < before_round}
        tags |= {round_tag(k): s for k, s in old.items() if _time(s) < cutoff}
    return tags


def _drop_refs(store: LabelStore, cutoff: datetime, before_round: int | None) -> None:
    """Remove the tags, and branches that a killed process left; take the rows of live generations out of main."""
    table = store.catalog.load_or_create()
    tags = _expired_tags(table, cutoff, before_round)
    dead = [
        name
        for name, ref in table.metadata.refs.items()
        if name.startswith((AUDIT_BRANCH, WITHDRAWAL_BRANCH))
        and (tip := table.metadata.snapshot_by_id(ref.snapshot_id)) is not None
        and _time(tip) < cutoff
    ]
    if not tags and not dead:
        return
    changes = [
        RefChange(name=name, before=table.metadata.refs[name].snapshot_id, after=None) for name in (*tags, *dead)
    ]
    live = {k: s for k, s in published_rounds(table).items() if round_tag(k) in tags}
    if live:
        main = main_tip(table)
        table, dropped = branch_without(store.catalog, table, main, live.keys())
        changes.append(dropped)
        changes.append(RefChange(name=MAIN_BRANCH, before=main, after=dropped.before, kind=SnapshotRefType.BRANCH))
    change_refs(table, changes, properties=_lineage_records(tags))


def _lineage_records(tags: Mapping[str, Snapshot]) -> dict[str, str]:
    """Where the lineage of an expired generation still lies: later ones may have been made from it."""
    records: dict[str, str] = {}
    for snapshot in (snapshot for tag, snapshot in tags.items() if _may_have_children(tag)):
        generation = describe(0, snapshot)
        fact = LineageFile(file=generation.lineage_file, sha256=generation.lineage_sha256)
        records[f"{EXPIRED_PREFIX}{snapshot.snapshot_id}"] = json.dumps(asdict(fact))
    return records


def _may_have_children(tag: str) -> bool:
    """A rollback retires a generation together with all that were made from it."""
    return not tag.startswith(Withdrawal.RETIRED)


def _drop_snapshots(store: LabelStore, cutoff: datetime, expired: Iterable[int]) -> None:
    """Snapshots that no branch or tag points to, if they are old or belong to what has just been expired."""
    table = store.catalog.load_or_create()
    pinned = {ref.snapshot_id for ref in table.metadata.refs.values()}
    gone = set(expired)
    ids = [
        snapshot.snapshot_id
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id not in pinned and (snapshot.snapshot_id in gone or _time(snapshot) < cutoff)
    ]
    if ids:
        table.maintenance.expire_snapshots().by_ids(ids).commit()


def _garbage(
    storage: Storage, table: Table | None, expired_tags: set[str], cutoff: datetime
) -> dict[str, list[StoredFile]]:
    """Run folder -> its files, for runs that no generation needs; under "" what belongs to no run."""
    needed = set() if table is None else _needed_runs(table, expired_tags)
    lineages = set() if table is None else _kept_lineages(table, expired_tags)
    runs: dict[str, list[StoredFile]] = {}
    loose: list[StoredFile] = []
    for file in storage.walk("data"):
        run = layout.run_of(file.name)
        if run is not None and run not in needed and file.name not in lineages:
            runs.setdefault(layout.run_folder(*run), []).append(file)
        elif file.name.endswith(TEMPORARY_SUFFIX) and file.modified < cutoff:
            loose.append(file)
    found = {folder: files for folder, files in runs.items() if all(file.modified < cutoff for file in files)}
    if table is not None:
        loose += _orphaned_metadata(storage, table, cutoff) + _stale_reports(storage, table, expired_tags, cutoff)
    return found | ({"": loose} if loose else {})


def _needed_runs(table: Table, expired_tags: set[str]) -> set[Run]:
    """Runs of the generations that stay, published or withdrawn, and of rounds that are being published."""
    runs: set[Run] = set()
    for name, ref in table.metadata.refs.items():
        snapshot = table.metadata.snapshot_by_id(ref.snapshot_id)
        if name in expired_tags or snapshot is None:
            continue
        run = layout.run_of(describe(0, snapshot).lineage_file)  # lies in the folder of its run
        if run is not None:
            runs.add(run)
    return runs


def _kept_lineages(table: Table, expired_tags: set[str]) -> set[str]:
    """Lineage files of generations that expired, or are about to (in a dry run their tags are still there)."""
    about_to = {tag for tag in expired_tags if _may_have_children(tag)} & table.metadata.refs.keys()
    kept = {table.metadata.refs[tag].snapshot_id for tag in about_to}
    for name in table.metadata.properties:
        if name.startswith(EXPIRED_PREFIX):
            kept.add(int(name.removeprefix(EXPIRED_PREFIX)))
    return {item.file for snapshot_id, item in lineage_files(table).items() if snapshot_id in kept}


def _orphaned_metadata(storage: Storage, table: Table, cutoff: datetime) -> list[StoredFile]:
    """Manifests, manifest lists and metadata versions that the table does not lead to."""
    reachable = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.metadata.snapshots:
        reachable.add(snapshot.manifest_list)
        reachable |= {manifest.manifest_path for manifest in snapshot.manifests(table.io)}
    names = {storage.name(location) for location in reachable}
    files = storage.walk(f"{layout.TABLE_FOLDER}/metadata")
    return [file for file in files if file.name not in names and file.modified < cutoff]


def _stale_reports(storage: Storage, table: Table, expired_tags: set[str], cutoff: datetime) -> list[StoredFile]:
    """Reports on generations that are gone, or go now: they show people's photos. What killed writers left too."""
    known = {ref.snapshot_id for name, ref in table.metadata.refs.items() if name not in expired_tags}
    old = [file for file in storage.walk(layout.REPORT_FOLDER) if file.modified < cutoff]
    return [
        file
        for file in old
        if file.name.endswith(TEMPORARY_SUFFIX)
        or ((snapshot := layout.snapshot_of_report(file.name)) is not None and snapshot not in known)
    ]


def _delete(store: LabelStore, garbage: Mapping[str, list[StoredFile]]) -> list[tuple[str, str]]:
    """Delete run by run; returns the runs that somebody works on, and so stay, with the reason."""
    skipped: list[tuple[str, str]] = []
    for folder, files in garbage.items():
        run = layout.run_of(files[0].name) if folder else None
        try:
            if run is None:
                _delete_files(store.storage, files)
                continue
            with RoundLock(store.storage, run[0], "manage_labels expire"):
                table = store.catalog.load()  # a round may have been published since
                if table is None or run not in _needed_runs(table, set()):
                    _delete_files(store.storage, files)
        except RoundBusyError as error:
            skipped.append((folder, f"{folder} stays: {error}"))
    for folder in ("data", layout.REPORT_FOLDER):
        store.storage.delete_empty_folders(folder)
    return skipped


def _delete_files(storage: Storage, files: list[StoredFile]) -> None:
    """Sidecars first: a label file without one counts for nothing, should we be killed midway."""
    for file in sorted(files, key=lambda file: not file.name.endswith(".json")):
        storage.delete(file.name)


def _time(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
