"""Verify: are all files of a generation still those that were published? Reads every byte."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from pipeline.labels.files import layout
from pipeline.labels.files.errors import NoSuchGenerationError
from pipeline.labels.files.staging import StagedShard, corruption
from pipeline.labels.publishing.lineage_file import content_digest
from pipeline.labels.store import LabelStore
from pipeline.labels.table.generation import Generation, added_files, describe, published_rounds
from pipeline.storage.storage import Storage


class Fault(StrEnum):
    """What can be wrong with a file of a published generation."""

    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"  # in the run's folder, yet no part of the generation; nobody reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFault:
    """A file that is not as published. `file` is its name below the storage root."""

    round: int
    file: str
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One generation: how much was read, and what is wrong."""

    generation: Generation
    files: int
    file_bytes: int
    faults: tuple[FileFault, ...]


def verify(store: LabelStore, rounds: Sequence[int] | None = None) -> Iterator[Verification]:
    """Check published generations, all or some, one after the other. Raises NoSuchGenerationError."""
    table = store.catalog.load()
    published = {} if table is None else published_rounds(table)
    if table is None or not published:
        raise NoSuchGenerationError(store.nothing_published())
    for k in published if rounds is None else rounds:
        store.generation(k)
    for k in published if rounds is None else rounds:
        yield verify_snapshot(table, store.storage, k, published[k])


def verify_snapshot(table: Table, storage: Storage, round: int, snapshot: Snapshot) -> Verification:
    """Sizes against the manifest, checksums against the sidecars, the sidecars together against the snapshot."""
    generation = describe(round, snapshot)
    folder = layout.run_folder(round, generation.run_id)
    present = {file.name for file in storage.walk(folder)}
    registered = {storage.name(file.file_path): int(file.file_size_in_bytes) for file in added_files(table, snapshot)}
    sidecars = sorted(
        {name.removesuffix(".parquet") + ".json" for name in registered}
        | {name for name in present if name.endswith(".json") and "/dataset=" in name}
    )
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        checked = list(pool.map(lambda name: _check(storage, name, registered), sidecars))
    faults = [
        FileFault(round=round, file=file, fault=fault, detail=detail)
        for c in checked
        for file, fault, detail in c.faults
    ]
    faults += _lineage_faults(storage, generation)
    whole = [c.staged for c in checked if c.staged is not None]
    if not faults and generation.content_digest not in (None, content_digest(whole)):
        detail = "the sidecars together are not those that were published"
        faults.append(FileFault(round=round, file=folder, fault=Fault.CHANGED, detail=detail))
    known = {file for c in checked for file in c.files} | {generation.lineage_file}
    faults += [
        FileFault(round=round, file=file, fault=Fault.EXTRA, detail="no part of the generation")
        for file in sorted(present - known)
    ]
    return Verification(
        generation=generation, files=len(checked), file_bytes=sum(c.size for c in checked), faults=tuple(faults)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A sidecar and its data file."""

    staged: StagedShard | None
    files: tuple[str, ...]
    size: int
    faults: tuple[tuple[str, Fault, str], ...]


def _check(storage: Storage, sidecar: str, registered: dict[str, int]) -> _Checked:
    data_file = sidecar.removesuffix(".json") + ".parquet"
    files = (sidecar, data_file)
    try:
        data = storage.read(data_file)
    except FileNotFoundError:
        return _Checked(staged=None, files=files, size=0, faults=((data_file, Fault.MISSING, "the label file"),))
    size = len(data)
    try:
        staged = StagedShard.from_json(storage.read(sidecar))
    except FileNotFoundError:
        return _Checked(staged=None, files=files, size=size, faults=((sidecar, Fault.MISSING, "the sidecar"),))
    except ValueError as error:
        return _Checked(staged=None, files=files, size=size, faults=((sidecar, Fault.CHANGED, str(error)),))
    problem = corruption(staged, data)
    expected = registered.get(data_file)
    if problem is None and expected is not None and expected != size:
        problem = f"{size} bytes where {expected} were published"
    faults = () if problem is None else ((data_file, Fault.CHANGED, problem),)
    return _Checked(staged=staged, files=files, size=size, faults=faults)


def _lineage_faults(storage: Storage, generation: Generation) -> list[FileFault]:
    name = generation.lineage_file
    try:
        digest = hashlib.sha256(storage.read(name)).hexdigest()
    except FileNotFoundError:
        return [FileFault(round=generation.round, file=name, fault=Fault.MISSING, detail="the lineage")]
    if digest == generation.lineage_sha256:
        return []
    detail = f"sha256 {digest[:12]} where {generation.lineage_sha256[:12]} was published"
    return [FileFault(round=generation.round, file=name, fault=Fault.CHANGED, detail=detail)]
