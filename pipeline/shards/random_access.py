"""Single photos of a shard, in any order: its headers are read once, then only the members of the photo asked for."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from pipeline.shards.reader import read_members, split_name
from pipeline.shards.shard_list import open_shard
from pipeline.shards.tar_stream import TarCutError, TarMember, TarStream
from schemas.input_shard import InputShard
from schemas.person import Photo, Rejection


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """key -> its members, of the first sample with that key, as `read_shard` reads it. A few hundred bytes a photo."""

    info: InputShard
    members: dict[str, tuple[TarMember, ...]]


def index_shard(info: InputShard) -> ShardIndex:
    """Read the headers; of a shard that is cut, those before the cut.

    Raises OSError when the shard cannot be read or has changed, NotATarError.
    """
    found: dict[str, list[TarMember]] = {}
    latest = ""
    with closing(open_shard(info)) as source:
        try:
            for member in TarStream(source, info.size):
                key, part = split_name(member.name)
                if member.kind != "file" or not part:
                    continue
                if key in found and key != latest:
                    latest = ""  # a second sample of this name: the first one counts
                    continue
                latest = key
                found.setdefault(key, []).append(member)
        except TarCutError:
            pass
    return ShardIndex(info, {key: tuple(members) for key, members in found.items()})


def read_photo(index: ShardIndex, key: str, *, check_photo: bool = True) -> Photo | Rejection | None:
    """The photo with its people, None where the shard has none of that key, else the first reason why it has none.

    Checked as `read_shard` checks it. Raises OSError when the shard cannot be read or has changed.
    """
    if key not in index.members:
        return None
    with closing(open_shard(index.info, read_ahead=False)) as source:
        stream = _Chosen(index.members[key], TarStream(source, index.info.size))
        found = list(read_members(index.info, stream, check_photos=check_photo))
    photos = [item for item in found if isinstance(item, Photo)]
    return photos[0] if photos else next(iter(item for item in found if isinstance(item, Rejection)), None)


@dataclass(frozen=True, slots=True)
class _Chosen:
    members: tuple[TarMember, ...]
    tar: TarStream

    def __iter__(self) -> Iterator[TarMember]:
        return iter(self.members)

    def read(self, member: TarMember) -> bytes:
        return self.tar.read(member)
