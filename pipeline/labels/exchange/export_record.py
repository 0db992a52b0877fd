"""What an export is of, beside it: the generation and its snapshot, and a checksum for every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

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


class _Export(NamedTuple):
    """Where an export lies: file is None for one that is a folder; record: the name of its record."""

    storage: Storage
    file: str | None
    record: str

    @classmethod
    def in_folder(cls, destination: str) -> "_Export":
        return cls(open_storage(destination), None, RECORD)

    @classmethod
    def in_file(cls, destination: str) -> "_Export":
        storage, name = storage_of_file(destination)
        return cls(storage, name, f"{name}.{RECORD}")

    def checksums(self) -> dict[str, str]:
        """sha256 of every file that is there."""
        if self.file is None:
            names = sorted(item.name for item in self.storage.walk())
        else:
            names = [name for name in self.storage.names("") if name == self.file]
        own = [name for name in names if name != self.record and not name.endswith(TEMPORARY_SUFFIX)]
        return {name: _sha256(self.storage, name) for name in own}


def record_export(store: LabelStore, generation: Generation, form: str, destination: str, *, folder: bool) -> str:
    """Write the record of a finished export; returns where it is. Every file in the folder is taken as part of it."""
    export = _Export.in_folder(destination) if folder else _Export.in_file(destination)
    found = ExportRecord(
        round=generation.round,
        run_id=generation.run_id,
        snapshot_id=generation.snapshot_id,
        content_digest=generation.content_digest,
        store=store.storage.root,
        form=form,
        files=export.checksums(),
    )
    export.storage.write(export.record, json.dumps(asdict(found), indent=1).encode())
    return export.storage.url(export.record)


def check_export(destination: str) -> tuple[ExportRecord, list[str]]:
    """The record of an export, file or folder, and what is not as it says: files changed, gone, or added.

    Raises LabelStoreError where there is no record, or it cannot be read.
    """
    for export in (_Export.in_folder(destination), _Export.in_file(destination)):
        try:
            data = export.storage.read(export.record)
        except (FileNotFoundError, NotADirectoryError):
            continue
        found = _read(data, destination)
        there = export.checksums()
        faults = [f"{name} is gone" for name in found.files if name not in there]
        faults += [f"{name} has changed" for name, sha in found.files.items() if there.get(name, sha) != sha]
        faults += [f"{name} is not of this export" for name in there if name not in found.files]
        return found, faults
    raise LabelStoreError(
        f"{destination} has no {RECORD}: it is no export, or one from before they were recorded. Export it again."
    )


def _read(data: bytes, destination: str) -> ExportRecord:
    try:
        raw: dict[str, Any] = json.loads(data)
        raw["files"] = {str(name): str(sha) for name, sha in raw["files"].items()}
        return ExportRecord(**raw)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise LabelStoreError(f"the record of {destination} is damaged: {error}. Export it again.") from error


def _sha256(storage: Storage, name: str) -> str:
    sha = hashlib.sha256()
    with storage.open(name) as file:
        while part := file.read(2**20):
            sha.update(part)
    return sha.hexdigest()
