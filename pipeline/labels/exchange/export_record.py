"""What an export is of, beside it: the generation and its snapshot, and a checksum for every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from pipeline.labels import Generation
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.store import LabelStore
from pipeline.storage.opening import open_storage, storage_of_file
from pipeline.storage.storage import TEMPORARY_SUFFIX, Storage

RECORD: Final = "export.json"
"""In the folder of an export; beside an export that is one file, `.export.json` after that file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """form: as in `manage_labels export --as`; files: their sha256 by their names below the folder."""

    round: int
    run_id: str
    snapshot_id: int
    content_digest: str | None
    store: str
    form: str
    files: Mapping[str, str]


def record_export(store: LabelStore, generation: Generation, form: str, destination: str, *, folder: bool) -> str:
    """Write the record of a finished export; returns where it is. Every file in the folder is taken as part of it."""
    storage, names, record = _place(destination, folder)
    found = ExportRecord(
        round=generation.round,
        run_id=generation.run_id,
        snapshot_id=generation.snapshot_id,
        content_digest=generation.content_digest,
        store=store.storage.root,
        form=form,
        files={name: _sha256(storage, name) for name in names},
    )
    storage.write(record, json.dumps(asdict(found), indent=1).encode())
    return storage.url(record)


def check_export(destination: str) -> tuple[ExportRecord, list[str]]:
    """The record of an export, file or folder, and what is not as it says: files changed, gone, or added.

    Raises LabelStoreError where there is no record, or it cannot be read.
    """
    record, folder = None, False
    for folder in (True, False):
        storage, _, name = _place(destination, folder, listed=False)
        try:
            record = storage.read(name)
            break
        except (FileNotFoundError, NotADirectoryError):
            continue
    if record is None:
        raise LabelStoreError(
            f"{destination} has no {RECORD}: it is no export, or one from before they were recorded. Export it again."
        )
    try:
        raw = json.loads(record)
        found = ExportRecord(**raw)
        known = {str(name): str(sha) for name, sha in found.files.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise LabelStoreError(f"the record of {destination} is damaged: {error}. Export it again.") from error
    storage, names, _ = _place(destination, folder)
    there = set(names)
    faults = [f"{name} is gone" for name in known if name not in there]
    faults += [f"{name} has changed" for name in known if name in there and _sha256(storage, name) != known[name]]
    faults += [f"{name} is not of this export" for name in names if name not in known]
    return found, faults


def _place(destination: str, folder: bool, *, listed: bool = True) -> tuple[Storage, list[str], str]:
    """The storage, the files of the export below it, and where its record is."""
    if not folder:
        storage, name = storage_of_file(destination)
        return storage, [name] if not listed or _exists(storage, name) else [], f"{name}.{RECORD}"
    storage = open_storage(destination)
    names = [item.name for item in storage.walk()] if listed else []
    return storage, sorted(n for n in names if n != RECORD and not n.endswith(TEMPORARY_SUFFIX)), RECORD


def _exists(storage: Storage, name: str) -> bool:
    try:
        storage.open(name).close()
    except FileNotFoundError:
        return False
    return True


def _sha256(storage: Storage, name: str) -> str:
    sha = hashlib.sha256()
    with storage.open(name) as file:
        while part := file.read(2**20):
            sha.update(part)
    return sha.hexdigest()
