"""Samples of a shard as bytes, for those who copy them; people are checked and decoded by `reader`."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from pipeline.safe_pickle import ForbiddenPickleError, MalformedPickleError, restricted_loads
from pipeline.shards.reader import LABEL_PART, MAX_JPEG_BYTES, key_problem, split_name
from pipeline.shards.shard_list import open_shard
from pipeline.shards.tar_stream import TarCutError, TarStream
from schemas.input_shard import InputShard


@dataclass(slots=True, kw_only=True)
class RawParts:
    """Consecutive members of one key. `people` is what data.pyd holds, None if it cannot be had safely.

    parts: bytes by name (`jpg`, `data.pyd`, `detection.npz`, ...), those that were asked for.
    """

    key: str
    parts: dict[str, bytes] = field(default_factory=dict)

    @property
    def people(self) -> list[dict] | None:
        """The list of dicts in data.pyd, by the restricted unpickler."""
        try:
            people = restricted_loads(self.parts[LABEL_PART])
        except (KeyError, ForbiddenPickleError, MalformedPickleError):
            return None
        whole = isinstance(people, list) and all(isinstance(person, dict) for person in people)
        return people if whole else None


def raw_samples(info: InputShard, part: str | None = None) -> Iterator[RawParts]:
    """Samples in file order, with all their parts or only one; unsafe names and members above 64 MB are left out.

    A tar that is cut short ends early. Raises OSError or ValueError when it cannot be read at all.
    """
    sample: RawParts | None = None
    with closing(open_shard(info)) as source:
        tar = TarStream(source, info.size)
        try:
            for member in tar:
                key, name = split_name(member.name)
                if member.kind != "file" or not name or key_problem(key) or member.size > MAX_JPEG_BYTES:
                    continue
                if sample is None or sample.key != key or name in sample.parts:
                    if sample is not None:
                        yield sample
                    sample = RawParts(key=key)
                if part is None or name == part:
                    sample.parts[name] = tar.read(member)
        except TarCutError:
            pass
        if sample is not None:
            yield sample
