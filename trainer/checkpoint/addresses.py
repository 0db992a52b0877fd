"""Opening a checkpoint by its address: a local path or s3://."""

from typing import BinaryIO

from pipeline.storage.opening import storage_of_file


def opened(address: str) -> BinaryIO:
    """The file, seekable. Raises FileNotFoundError, ValueError for an address of an unknown kind."""
    storage, name = storage_of_file(address)
    try:
        return storage.open(name)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(
            f"there is no checkpoint file {address}. Give the path or s3:// address of a .safetensors or .ckpt file."
        ) from error
