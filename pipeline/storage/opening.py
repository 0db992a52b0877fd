"""From an address to its storage: the one place that tells a folder from a bucket."""

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.storage.local_storage import LocalStorage
from pipeline.storage.s3_storage import S3Storage
from pipeline.storage.storage import Storage


def open_storage(root: str) -> Storage:
    """The storage below a folder (a path or file://) or s3://bucket/prefix; opening touches nothing.

    Raises ValueError for an address that is neither, or holds credentials.
    """
    parts = urlsplit(root)
    if parts.scheme == "file":
        return LocalStorage(str(Path(parts.path).absolute()))
    if "://" not in root:
        if not root.strip():
            raise ValueError("storage.root is empty. Write a folder or s3://bucket/prefix.")
        return LocalStorage(str(Path(root).expanduser().absolute()))
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(f"storage.root={root!r} is not supported. Write a folder or s3://bucket/prefix.")
    if "@" in parts.netloc:
        raise ValueError("storage.root holds credentials. Leave them to the AWS chain (environment, ~/.aws, role).")
    return S3Storage(root.rstrip("/"))


def storage_of_file(address: str) -> tuple[Storage, str]:
    """The storage of the folder that a file lies in, and the file's name there. Raises ValueError as `open_storage`."""
    folder, _, name = address.rpartition("/")
    return open_storage(folder or "."), name
