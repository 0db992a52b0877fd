"""Relocate: copy or move a warehouse to another root, local or S3, with all paths in its metadata rewritten.

First the label files and reports, then the metadata, then everything is verified at its new place; only then the
catalog is switched, in one compare-and-swap. Killed at any moment it is started again, and copies only what is missing.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from pyiceberg.manifest import ManifestFile, write_manifest, write_manifest_list
from pyiceberg.table import StaticTable, Table
from pyiceberg.table.snapshots import Snapshot
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt

from pipeline.labels.files import reviews
from pipeline.labels.files.errors import CatalogError, LabelStoreError, PublishConflictError
from pipeline.labels.files.layout import LOCK_NAME, MOVED_FILE, REPORT_FOLDER, TABLE_FOLDER
from pipeline.labels.files.round_lock import RoundLock
from pipeline.labels.store import LabelStore
from pipeline.labels.table.catalog import TABLE_IO
from pipeline.labels.table.generation import published_rounds
from pipeline.labels.table.withdrawn import withdrawn_generations
from pipeline.labels.upkeep.verify import FileFault, verify_snapshot
from pipeline.storage.storage import TEMPORARY_SUFFIX, Storage

_ATTEMPTS: Final = 5
_FOLDERS: Final = ("data", REPORT_FOLDER, reviews.FOLDER)
_MANIFEST_PATH: Final = 0  # positions in Iceberg's records
_MANIFEST_LENGTH: Final = 1
_FILE_PATH: Final = 1

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """What was done: files and bytes copied now, and those an earlier attempt had copied already."""

    copied: int
    copied_bytes: int
    found: int
    generations: int


def relocate(
    source: LabelStore, destination: LabelStore, *, move: bool, progress: Progress = lambda what, done, total: None
) -> Relocation:
    """Copy all of `source` to `destination`; with `move` the source's catalog hands over and forgets its labels.

    The files of the source stay where they are: delete the folder when you no longer need it. Raises CatalogError,
    NoSuchGenerationError, RoundBusyError when a round is being computed, PublishConflictError when somebody keeps
    publishing meanwhile, and LabelStoreError when a file is damaged; in all these cases nothing was switched.
    """
    if source.storage.root == destination.storage.root:
        raise LabelStoreError(f"Source and destination are both {source.storage.root}.")
    if move and (resumed := _handed_over(source, destination)):
        return resumed
    retrying = Retrying(retry=retry_if_exception_type(PublishConflictError), stop=stop_after_attempt(_ATTEMPTS))
    try:
        return retrying(_attempt, source, destination, move=move, progress=progress)
    except RetryError as error:
        raise PublishConflictError(
            f"{source.storage.root} kept changing during {_ATTEMPTS} attempts. Nothing was switched; try again when no "
            "round is being published."
        ) from error.last_attempt.exception()


def _attempt(source: LabelStore, destination: LabelStore, *, move: bool, progress: Progress) -> Relocation:
    """Raises PublishConflictError when somebody published meanwhile; nothing was switched then: repeat it."""
    table = source.catalog.load()
    if table is None or not table.metadata.refs:
        raise LabelStoreError(source.nothing_published())
    destination.catalog.refuse_other_tables(source.storage)
    if not move and source.catalog.uri == destination.catalog.uri:
        raise CatalogError("A copy needs a catalog of its own: name it with --to-catalog.")
    if not move:
        return _switch(source, destination, table, move=False, progress=progress)
    with RoundLock(source.storage, max(published_rounds(table), default=-1) + 1, "manage_labels relocate"):
        return _switch(source, destination, table, move=True, progress=progress)


def _switch(source: LabelStore, destination: LabelStore, table: Table, *, move: bool, progress: Progress) -> Relocation:
    copied, size, found = _copy_files(source.storage, destination.storage, progress)
    location = _rewrite(table, source.storage, destination.storage)
    moved = StaticTable.from_metadata(location, {"py-io-impl": TABLE_IO})
    generations = _verify(moved, destination.storage, progress)
    if not move:
        _take_over(destination, location)
    elif source.catalog.uri == destination.catalog.uri:
        source.catalog.repoint(table.metadata_location, location)
    else:
        _leave_word(source.storage, destination, location)
        source.catalog.drop(table.metadata_location)
        _take_over(destination, location)
    _copy_files(source.storage, destination.storage, progress, [reviews.FOLDER])  # written meanwhile
    return Relocation(copied=copied, copied_bytes=size, found=found, generations=generations)


def _handed_over(source: LabelStore, destination: LabelStore) -> Relocation | None:
    """Finish a move that died between the old catalog's handing over and the new one's taking."""
    if source.catalog.knows_table() or destination.catalog.knows_table():
        return None
    try:
        word = json.loads(source.storage.read(MOVED_FILE))
    except FileNotFoundError:
        return None
    if word["root"] != destination.storage.root:
        raise CatalogError(f"{source.storage.root} is on its way to {word['root']}: finish that move first.")
    _take_over(destination, word["metadata"])
    _copy_files(source.storage, destination.storage, lambda what, done, total: None, [reviews.FOLDER])
    return Relocation(copied=0, copied_bytes=0, found=0, generations=len(destination.rounds()))


def _take_over(destination: LabelStore, metadata: str) -> None:
    destination.catalog.register(metadata)
    destination.storage.delete(MOVED_FILE)  # of labels that once left here, and now come back


def _leave_word(source: Storage, destination: LabelStore, metadata: str) -> None:
    """Where the labels went: for a resumed move, and for the message to those who look for them here."""
    word = {"root": destination.storage.root, "catalog": destination.catalog.uri, "metadata": metadata}
    source.write(MOVED_FILE, json.dumps(word).encode())


def _copy_files(
    source: Storage, destination: Storage, progress: Progress, folders: Sequence[str] = _FOLDERS
) -> tuple[int, int, int]:
    """(files copied, their bytes, files found there). What is found with the right size is checked by `_verify`."""
    present = {file.name: file.size for folder in folders for file in destination.walk(folder)}
    wanted = [
        file
        for folder in folders
        for file in source.walk(folder)
        if not file.name.endswith(TEMPORARY_SUFFIX) and not file.name.endswith(f"/{LOCK_NAME}")
    ]
    missing = [file for file in wanted if present.get(file.name) != file.size]

    def copy(name: str) -> int:
        data = source.read(name)
        destination.write(name, data)
        return len(data)

    size = 0
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for done, copied in enumerate(pool.map(copy, (file.name for file in missing)), 1):
            size += copied
            progress("copying", done, len(missing))
    return len(missing), size, len(wanted) - len(missing)


def _rewrite(table: Table, source: Storage, destination: Storage) -> str:
    """Write the metadata for the new root; returns the location of its current version."""
    rewriter = _Rewriter(table, source, destination)
    manifest_lists = {s.snapshot_id: rewriter.manifest_list(s) for s in table.metadata.snapshots}
    metadata: dict[str, Any] = json.loads(source.read(source.name(table.metadata_location)))
    metadata["location"] = f"{destination.uri}/{TABLE_FOLDER}"
    metadata["metadata-log"] = []
    for snapshot in metadata["snapshots"]:
        snapshot["manifest-list"] = manifest_lists[snapshot["snapshot-id"]]
    data = json.dumps(metadata).encode()
    # Versions from 1 on are history that a catalog must know (`LabelCatalog`); the name tells equal content.
    version = max(int(table.metadata_location.rpartition("/")[2].partition("-")[0]), 1)
    name = f"{TABLE_FOLDER}/metadata/{version:05d}-{hashlib.sha256(data).hexdigest()[:32]}.metadata.json"
    destination.write(name, data)
    return f"{destination.uri}/{name}"


class _Rewriter:
    """Manifests and manifest lists for the new root. What is written once serves all snapshots that share it."""

    def __init__(self, table: Table, source: Storage, destination: Storage) -> None:
        self._table = table
        self._source = source
        self._destination = destination
        self._manifests: dict[str, ManifestFile] = {}

    def manifest_list(self, snapshot: Snapshot) -> str:
        location = self._moved(snapshot.manifest_list)
        with write_manifest_list(
            format_version=self._table.metadata.format_version,
            output_file=self._table_io.new_output(location),
            snapshot_id=snapshot.snapshot_id,
            parent_snapshot_id=snapshot.parent_snapshot_id,
            sequence_number=snapshot.sequence_number,
            avro_compression="deflate",
        ) as writer:
            writer.add_manifests([self._manifest(item) for item in snapshot.manifests(self._table.io)])
        return location

    def _manifest(self, manifest: ManifestFile) -> ManifestFile:
        if manifest.manifest_path not in self._manifests:
            self._manifests[manifest.manifest_path] = self._write_manifest(manifest)
        return self._manifests[manifest.manifest_path]

    def _write_manifest(self, manifest: ManifestFile) -> ManifestFile:
        metadata = self._table.metadata
        output = self._table_io.new_output(self._moved(manifest.manifest_path))
        with write_manifest(
            format_version=metadata.format_version,
            spec=metadata.specs()[manifest.partition_spec_id],
            schema=self._table.schema(),
            output_file=output,
            snapshot_id=manifest.added_snapshot_id or 0,
            avro_compression="deflate",
        ) as writer:
            for entry in manifest.fetch_manifest_entry(self._table.io, discard_deleted=False):
                entry.data_file[_FILE_PATH] = self._moved(entry.data_file.file_path)
                writer.add_entry(entry)
        moved = ManifestFile(*(manifest[i] for i in range(len(manifest))))
        moved[_MANIFEST_PATH] = output.location
        moved[_MANIFEST_LENGTH] = len(output.to_input_file())
        return moved

    @property
    def _table_io(self) -> Any:
        return self._table.io  # reaches local and S3 paths alike

    def _moved(self, location: str) -> str:
        return f"{self._destination.uri}/{self._source.name(location)}"


def _verify(table: Table, destination: Storage, progress: Progress) -> int:
    """Every generation at its new place, published or withdrawn, byte for byte; returns how many there are.

    A damaged copy is deleted, so that the next attempt copies it again. Raises LabelStoreError.
    """
    generations = [(k, snapshot) for k, snapshot in published_rounds(table).items()]
    for item in withdrawn_generations(table):
        snapshot = table.metadata.snapshot_by_id(item.generation.snapshot_id)
        if snapshot is not None:
            generations.append((item.generation.round, snapshot))
    faults: list[FileFault] = []
    for done, (k, snapshot) in enumerate(generations, 1):
        faults += [fault for fault in verify_snapshot(table, destination, k, snapshot).faults if fault.fault != "extra"]
        progress("verifying", done, len(generations))
    for fault in faults:
        destination.delete(fault.file)
    if faults:
        first = faults[0]
        raise LabelStoreError(
            f"{len(faults)} files are not as published at {destination.root}, first {first.file}: {first.fault}, "
            f"{first.detail}. Nothing was switched. Try again; if it stays, the source is damaged: "
            "python jobs/manage_labels.py verify"
        )
    return len(generations)
