"""A folder of immutable files, local or on S3, addressed by relative names; every write is all or nothing."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from pipeline.s3 import s3_filesystem

SINGLE_PUT_BYTES = 2**31  # s3fs sends up to twice this as one PUT; a multipart upload could be left half done


@dataclass(frozen=True, slots=True)
class Storage:
    """`root` is an absolute local path or s3://bucket/prefix. A plain value: cheap to pickle into actors."""

    root: str

    @classmethod
    def at(cls, root: str) -> "Storage":
        """Raises ValueError for an address that is neither a folder nor s3://bucket/prefix, or holds credentials."""
        parts = urlsplit(root)
        if parts.scheme == "file":
            return cls(str(Path(parts.path).absolute()))
        if "://" not in root:
            if not root.strip():
                raise ValueError("storage.root is empty. Write a folder or s3://bucket/prefix.")
            return cls(str(Path(root).expanduser().absolute()))
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"storage.root={root!r} is not supported. Write a folder or s3://bucket/prefix.")
        if "@" in parts.netloc:
            raise ValueError("storage.root holds credentials. Leave them to the AWS chain (environment, ~/.aws, role).")
        return cls(root.rstrip("/"))

    @property
    def is_local(self) -> bool:
        return not self.root.startswith("s3://")

    @property
    def uri(self) -> str:
        """The root with its scheme, as table formats want it."""
        return f"file://{self.root}" if self.is_local else self.root

    def url(self, name: str) -> str:
        """Path or s3:// URL of `name`, as pyarrow, DuckDB and pandas take it."""
        return f"{self.root}/{name}"

    def name(self, location: str) -> str:
        """The relative name of an absolute location below this root. Raises ValueError when it lies elsewhere."""
        for prefix in (self.uri, self.root):
            if location.startswith(prefix + "/"):
                return location[len(prefix) + 1 :]
        raise ValueError(f"{location} is not below {self.root}: was the store moved?")

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        if self.is_local:
            return Path(self.url(name)).read_bytes()
        with _explained(self.root):
            return self.filesystem().cat_file(self.url(name))

    def write(self, name: str, data: bytes) -> None:
        """Readers see the old file or the whole new one, whenever the writer dies."""
        if self.is_local:
            _replace(Path(self.url(name)), data)
            return
        with _explained(self.root):
            self.filesystem().pipe_file(self.url(name), data, chunksize=SINGLE_PUT_BYTES)

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in `folder`, sorted; empty if there is none."""
        if self.is_local:
            path = Path(self.url(folder))
            return sorted(entry.name for entry in path.iterdir() if entry.is_file()) if path.is_dir() else []
        try:
            with _explained(self.root):
                entries = self.filesystem().ls(self.url(folder), detail=True)
        except FileNotFoundError:
            return []
        return sorted(entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file")

    def filesystem(self) -> Any:
        """The fsspec file system of the root; credentials come from the usual AWS chain."""
        return fsspec.filesystem("file") if self.is_local else s3_filesystem()


@contextlib.contextmanager
def _explained(root: str) -> Iterator[None]:
    """Raises ConnectionError where botocore finds no credentials or no server."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        raise ConnectionError(
            f"{root} cannot be reached: {error}. Endpoint and credentials come from the usual AWS chain "
            "(AWS_ENDPOINT_URL, AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role)."
        ) from error


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
