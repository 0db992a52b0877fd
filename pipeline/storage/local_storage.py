"""Files in a folder of a disk: written beside their place and moved there, so that nobody sees half of one."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import fsspec

from pipeline.storage.storage import TEMPORARY_SUFFIX, StoredFile, UnfinishedUpload, name_below

if TYPE_CHECKING:
    import duckdb
    from pyarrow.parquet import ParquetFile


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """`Storage` of the folder `root`, an absolute path; it need not exist before something is written."""

    root: str

    @property
    def uri(self) -> str:
        return f"file://{self.root}"

    def url(self, name: str) -> str:
        return f"{self.root}/{name}"

    def name(self, location: str) -> str:
        return name_below(location, self)

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return self._path(name).open("rb")

    def parquet_file(self, name: str) -> "ParquetFile":
        from pyarrow.parquet import ParquetFile

        return ParquetFile(self.url(name))

    def create_views(self, connection: "duckdb.DuckDBPyConnection", views: Mapping[str, Sequence[str]]) -> None:
        for view, paths in views.items():
            connection.read_parquet(list(paths), hive_partitioning=False).create_view(view)

    def write(self, name: str, data: bytes) -> None:
        with _written(self._path(name), data) as temporary:
            temporary.replace(self._path(name))

    def create(self, name: str, data: bytes) -> None:
        with _written(self._path(name), data) as temporary:
            os.link(temporary, self._path(name))  # unlike a rename, refuses to replace

    def upload(self, file: Path, name: str) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        try:
            shutil.copyfile(file, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def delete_empty_folders(self, folder: str) -> None:
        for path, _, _ in os.walk(self.url(folder), topdown=False):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(path)

    def names(self, folder: str) -> list[str]:
        path = self._path(folder)
        return sorted(entry.name for entry in path.iterdir() if entry.is_file()) if path.is_dir() else []

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        for place, _, names in os.walk(self.url(folder) if folder else self.root):
            for name in sorted(names):
                path = Path(place, name)
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    stat = path.stat()
                    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                    yield StoredFile(name=self.name(str(path)), size=stat.st_size, modified=modified)

    def unfinished_uploads(self) -> list[UnfinishedUpload]:
        """None: an upload that was not finished has left a temporary file, which `walk` shows."""
        return []

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Raises ValueError: a folder has no uploads."""
        raise ValueError(f"{self.root} is a folder and without uploads: abort it where it was listed.")

    def now(self) -> datetime:
        probe = f"clock-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        self.write(probe, b"")
        try:
            return datetime.fromtimestamp(self._path(probe).stat().st_mtime, UTC)
        finally:
            self.delete(probe)

    def database_file(self, name: str) -> Path:
        return self._path(name)

    def filesystem(self) -> Any:
        return fsspec.filesystem("file")

    def _path(self, name: str) -> Path:
        return Path(self.url(name))


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """`data` in a new file beside `path`, on the disk and not only in its cache; removed unless it is moved away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as failure:
            if failure.filename is not None:
                raise
            raise OSError(failure.errno, failure.strerror, str(path)) from failure  # the disk is full: say which
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
