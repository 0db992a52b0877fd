"""How pyiceberg reads and writes its metadata: S3 with the retries of the labels, local files safely on the disk."""

import io
import os
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from pyiceberg.io.fsspec import FsspecFileIO, FsspecOutputFile

from pipeline.storage.s3 import s3_filesystem


class LabelTableIO(FsspecFileIO):
    """pyiceberg's own S3 settings know no retries, and its local files may be lost after the catalog points to them."""

    def _get_fs(self, scheme: str, hostname: str | None = None) -> Any:
        return s3_filesystem() if scheme == "s3" else super()._get_fs(scheme, hostname)

    def new_output(self, location: str) -> FsspecOutputFile:
        output = super().new_output(location)
        return _SyncedFile(location, output._fs) if isinstance(output._fs, LocalFileSystem) else output


class _SyncedFile(FsspecOutputFile):
    """A local file that is on the disk, and not only in its cache, once it is closed.

    SQLite's commit is, at once: a machine or disk that fails within the next half minute would leave a catalog that
    points to an empty file, and with it no generation at all.
    """

    def create(self, overwrite: bool = False) -> Any:
        super().create(overwrite).close()  # refuses to replace, and makes the folder
        return _SyncedWriter(io.FileIO(self.location.removeprefix("file://"), "wb"))


class _SyncedWriter(io.BufferedWriter):
    def close(self) -> None:
        try:
            if not self.closed:
                self.flush()
                os.fsync(self.fileno())
        finally:
            super().close()
