"""What a folder of immutable files can do, wherever it lies: files go by relative names, writes are all or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    import duckdb
    from pyarrow.parquet import ParquetFile

TEMPORARY_SUFFIX: Final = ".tmp"  # of a file that is being written; a killed writer leaves one behind


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file as a listing shows it: its name below the root, size in bytes, time of the last change."""

    name: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A multipart upload that nobody completed: invisible, but it occupies space."""

    key: str
    upload_id: str
    initiated: datetime


@runtime_checkable
class Storage(Protocol):
    """A folder of files, see `open_storage`. A plain value: equal by its root, cheap to pickle into actors.

    Methods that touch files raise OSError where the disk fails, ConnectionError (an OSError) where S3 does not answer.
    """

    @property
    def root(self) -> str:
        """An absolute local path or s3://bucket/prefix."""
        ...

    @property
    def uri(self) -> str:
        """The root with its scheme, as table formats want it."""
        ...

    def url(self, name: str) -> str:
        """Path or s3:// URL of `name`, as pyarrow, DuckDB and pandas take it."""
        ...

    def name(self, location: str) -> str:
        """The relative name of an absolute location below this root. Raises ValueError when it lies elsewhere."""
        ...

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The file, seekable. Raises FileNotFoundError."""
        ...

    def parquet_file(self, name: str) -> "ParquetFile":
        """A Parquet file to read columns of. Raises FileNotFoundError."""
        ...

    def create_views(self, connection: "duckdb.DuckDBPyConnection", views: Mapping[str, Sequence[str]]) -> None:
        """Give a DuckDB connection one view over Parquet files for every name in `views`: name -> `url`s."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Readers see the old file or the whole new one, whenever the writer dies."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Write a file that must not exist yet; of several writers one succeeds. Raises FileExistsError."""
        ...

    def upload(self, file: Path, name: str) -> None:
        """Put a finished local file, of any size, at `name`: whole or not at all."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is as good as deleted."""
        ...

    def delete_empty_folders(self, folder: str) -> None:
        """Remove `folder` and what is below it where no file is left."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in `folder`, sorted; empty if there is none."""
        ...

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """Every file below `folder`, temporary ones included, with size and time of last change."""
        ...

    def unfinished_uploads(self) -> list[UnfinishedUpload]:
        """Multipart uploads below the root that were begun and neither completed nor aborted."""
        ...

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Free what an unfinished upload occupies."""
        ...

    def now(self) -> datetime:
        """The time by the clock that stamps the files, which may differ from this machine's."""
        ...

    def database_file(self, name: str) -> Path:
        """Where a database of this root can live, which needs a disk: `name` below the root if that is one."""
        ...

    def filesystem(self) -> Any:
        """The fsspec file system of the root."""
        ...


def name_below(location: str, storage: Storage) -> str:
    """The relative name of an absolute location, with or without scheme. Raises ValueError when it lies elsewhere."""
    for prefix in (storage.uri, storage.root):
        if location.startswith(prefix + "/"):
            return location[len(prefix) + 1 :]
    raise ValueError(f"{location} is not below {storage.root}: was the store moved?")
