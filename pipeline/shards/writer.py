"""Writing shards: the same samples give the same bytes, and a shard appears whole or not at all."""

import io
import os
import pickle
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipeline.shards.shard_list import parse_url
from pipeline.storage.s3 import s3_filesystem

if TYPE_CHECKING:
    from webdataset.writer import TarWriter

_PICKLE_PROTOCOL = 4  # that of the published shards


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSample:
    """A sample to write: key (slashes allowed, no dot in its last part), JPEG bytes, a `person_record` per person."""

    key: str
    jpeg: bytes
    people: Sequence[dict[str, Any]]


class ShardWriter:
    """`with ShardWriter(url) as writer: writer.write(sample)`. The shard appears if the block ends well, else nothing.

    url: local path, file:// or s3://bucket/key. Locally a temporary file beside it is renamed; on S3 a finished
    temporary file is uploaded. Members carry no times or owners, so that writing again gives the same bytes.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self._file: Any = None
        self._tar: TarWriter | None = None
        self._keys: set[str] = set()

    def __enter__(self) -> Self:
        from webdataset.writer import TarWriter  # here, for it imports torch, which reading shards does without

        self._file = _temporary(self.url)
        # Parts are bytes already: of what goes into a pickle, and what reads it, webdataset decides nothing.
        self._tar = TarWriter(self._file, encoder=False, keep_meta=True, mtime=0, user="", group="", mode=0o644)
        return self

    def write(self, sample: RawSample) -> None:
        """Append a sample. Raises ValueError for a key that a reader would split elsewhere or has met before."""
        self.write_parts(sample.key, {"jpg": sample.jpeg, "data.pyd": pickle_people(sample.people)})

    def write_parts(self, key: str, parts: Mapping[str, bytes]) -> None:
        """Append a sample as its parts, `jpg`, `data.pyd`, `detection.npz`, ...: bytes by name. Raises ValueError."""
        if self._tar is None:
            raise RuntimeError("ShardWriter.write outside of its with block")
        base = key.rpartition("/")[2]
        if not base or "." in base or key.startswith("/") or ".." in key.split("/"):
            raise ValueError(f"Sample key {key!r}: expected a relative name whose last part has no dot")
        if key in self._keys:
            raise ValueError(f"Sample key {key!r} was already written to {self.url}: keys are unique in a shard")
        self._keys.add(key)
        for part, data in parts.items():  # one at a time, in the order given: of a whole sample it would sort them
            self._tar.write({"__key__": key, part: data})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        file, tar = self._file, self._tar
        self._file = self._tar = None
        if file is None or tar is None:
            return
        try:
            if error is None:
                tar.close()
                _publish(file, self.url)
            else:
                with suppress(OSError):  # the disk may be full; what went wrong first is what is told
                    tar.close()
        finally:
            file.close()
            Path(file.name).unlink(missing_ok=True)


def write_shard(url: str, samples: Iterable[RawSample]) -> None:
    """Write a whole shard; if `samples` raises, nothing appears at `url`."""
    with ShardWriter(url) as writer:
        for sample in samples:
            writer.write(sample)


def pickle_people(people: Sequence[dict[str, Any]]) -> bytes:
    """Bytes of data.pyd. `fast` switches the memo off: whether two equal strings are one object must change no byte."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol=_PICKLE_PROTOCOL)
    pickler.fast = True
    pickler.dump(list(people))
    return file.getvalue()


def _temporary(url: str) -> Any:
    """Open temporary file: beside the shard, so that it can be renamed, or in the temporary folder for S3."""
    if url.startswith("s3://"):
        return tempfile.NamedTemporaryFile(prefix="shard-", delete=False)
    path = Path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)


def _publish(file: Any, url: str) -> None:
    if url.startswith("s3://"):
        file.close()
        s3_filesystem().put_file(file.name, url)
        return
    file.flush()
    os.fchmod(file.fileno(), 0o644)  # temporary files are made for their owner only
    os.fsync(file.fileno())
    file.close()
    os.replace(file.name, url)
