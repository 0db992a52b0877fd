"""Opening a checkpoint by its address: a local path or s3://."""

import io
from pathlib import Path
from typing import BinaryIO

from pipeline.storage.storage import Storage


def opened(address: str) -> BinaryIO:
    """The file, seekable. Raises FileNotFoundError, ValueError for an address of an unknown kind."""
    folder, _, name = address.rpartition("/")
    storage = Storage.at(folder or ".")
    try:
        return Path(storage.url(name)).open("rb") if storage.is_local else io.BytesIO(storage.read(name))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(
            f"there is no checkpoint file {address}. Give the path or s3:// address of a .safetensors or .ckpt file."
        ) from error
