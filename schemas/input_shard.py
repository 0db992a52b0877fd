"""An input shard: the tar that holds photos and people, and the name that it and its labels go by."""

from dataclasses import dataclass
from typing import NamedTuple


class ShardId(NamedTuple):
    """Identity of a shard in every generation: the name of its data set, and its own within that."""

    dataset: str
    shard: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.shard}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShard:
    """One input tar. `url` is an absolute local path or s3://bucket/key, `size` in bytes.

    etag: version of the content: the ETag on S3, `<size>-<mtime_ns>` on the local disk. For a content digest the driver
    would read terabytes before a round starts; size and mtime are what rsync trusts, and the same after a restart.
    A lineage lists these fields under these names.
    """

    dataset: str
    shard: str
    url: str
    size: int
    etag: str

    @property
    def id(self) -> ShardId:
        return ShardId(self.dataset, self.shard)
