"""A folder of immutable files, local or on S3, addressed by relative names; every write is all or nothing."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from pipeline.storage.s3 import s3_filesystem

SINGLE_PUT_BYTES = 2**31  # s3fs sends up to twice this as one PUT; a multipart upload could be left half done
_CREATED_BY_ANOTHER = {"PreconditionFailed", "ConditionalRequestConflict"}
TEMPORARY_SUFFIX = ".tmp"  # of a file that is being written; a killed writer leaves one behind


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
        with explained(self.root):
            return self.filesystem().cat_file(self.url(name))

    def write(self, name: str, data: bytes) -> None:
        """Readers see the old file or the whole new one, whenever the writer dies."""
        if self.is_local:
            _replace(Path(self.url(name)), data)
            return
        with explained(self.root):
            self.filesystem().pipe_file(self.url(name), data, chunksize=SINGLE_PUT_BYTES)

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in `folder`, sorted; empty if there is none."""
        if self.is_local:
            path = Path(self.url(folder))
            return sorted(entry.name for entry in path.iterdir() if entry.is_file()) if path.is_dir() else []
        try:
            with explained(self.root):
                entries = self.filesystem().ls(self.url(folder), detail=True)
        except FileNotFoundError:
            return []
        return sorted(entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file")

    def create(self, name: str, data: bytes) -> None:
        """Write a file that must not exist yet; of several writers one succeeds. Raises FileExistsError."""
        if self.is_local:
            path = Path(self.url(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = _temporary(path, data)
            try:
                os.link(temporary, path)  # unlike a rename, refuses to replace
            finally:
                temporary.unlink(missing_ok=True)
            return
        try:
            with explained(self.root):
                self.filesystem().pipe_file(self.url(name), data, mode="create", chunksize=SINGLE_PUT_BYTES)
        except OSError as error:
            response = getattr(error.__cause__, "response", {})  # that of botocore's ClientError
            if response.get("Error", {}).get("Code") in _CREATED_BY_ANOTHER:
                raise FileExistsError(f"{self.url(name)} is there already") from error
            raise

    def upload(self, file: Path, name: str) -> None:
        """Put a finished local file, of any size, at `name`: whole or not at all."""
        if self.is_local:
            path = Path(self.url(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
            try:
                shutil.copyfile(file, temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            return
        with explained(self.root):
            self.filesystem().put_file(str(file), self.url(name))

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is as good as deleted."""
        if self.is_local:
            Path(self.url(name)).unlink(missing_ok=True)
            return
        with explained(self.root), contextlib.suppress(FileNotFoundError):
            self.filesystem().rm_file(self.url(name))

    def delete_empty_folders(self, folder: str) -> None:
        """Remove `folder` and what is below it where no file is left; S3 has no folders."""
        if self.is_local:
            for path, _, _ in os.walk(self.url(folder), topdown=False):
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(path)

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """Every file below `folder`, temporary ones included, with size and time of last change."""
        if self.is_local:
            top = self.url(folder) if folder else self.root
            for place, _, names in os.walk(top):
                for name in sorted(names):
                    path = Path(place, name)
                    with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                        stat = path.stat()
                        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                        yield StoredFile(name=self.name(str(path)), size=stat.st_size, modified=modified)
            return
        with explained(self.root):
            found = self.filesystem().find(self.url(folder) if folder else self.root, detail=True)
        for path, entry in sorted(found.items()):
            if entry["type"] != "file":
                continue  # SeaweedFS shows an emptied prefix as an empty folder
            yield StoredFile(name=self.name(f"s3://{path}"), size=int(entry["size"]), modified=entry["LastModified"])

    def unfinished_uploads(self) -> list[UnfinishedUpload]:
        """Multipart uploads below the root that were begun and neither completed nor aborted; S3 only."""
        if self.is_local:
            return []
        bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        found: list[UnfinishedUpload] = []
        marker: dict[str, str] = {}
        with explained(self.root):
            while True:
                page = self.filesystem().call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/", **marker)
                found += [
                    UnfinishedUpload(key=item["Key"], upload_id=item["UploadId"], initiated=item["Initiated"])
                    for item in page.get("Uploads", [])
                ]
                if not page.get("IsTruncated"):
                    return found
                marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Free what an unfinished upload occupies."""
        bucket = self.root.removeprefix("s3://").partition("/")[0]
        with explained(self.root), contextlib.suppress(FileNotFoundError):
            self.filesystem().call_s3(
                "abort_multipart_upload", Bucket=bucket, Key=upload.key, UploadId=upload.upload_id
            )

    def now(self) -> datetime:
        """The time by the clock that stamps the files, which may differ from this machine's."""
        probe = f"clock-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        self.write(probe, b"")
        try:
            if self.is_local:
                return datetime.fromtimestamp(Path(self.url(probe)).stat().st_mtime, UTC)
            with explained(self.root):
                return self.filesystem().info(self.url(probe))["LastModified"]
        finally:
            self.delete(probe)

    def filesystem(self) -> Any:
        """The fsspec file system of the root; credentials come from the usual AWS chain."""
        return fsspec.filesystem("file") if self.is_local else s3_filesystem()


@contextlib.contextmanager
def explained(root: str) -> Iterator[None]:
    """Raises ConnectionError, naming the root, where botocore finds no credentials or no server."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        raise ConnectionError(
            f"{root} cannot be reached: {error}. Endpoint and credentials come from the usual AWS chain "
            "(AWS_ENDPOINT_URL, AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role)"
        ) from error


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, data)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path, data: bytes) -> Path:
    """`data` in a new file beside `path`, on the disk and not only in its cache."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as failure:
        temporary.unlink(missing_ok=True)
        if isinstance(failure, OSError) and failure.filename is None:  # the disk is full: say which
            raise OSError(failure.errno, failure.strerror, str(path)) from failure
        raise
    return temporary
