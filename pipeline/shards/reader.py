"""Reading a shard: every sample becomes a checked Photo or recorded Rejections, never an exception or a silence."""

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from pipeline.safe_pickle import ForbiddenPickleError, MalformedPickleError, restricted_loads
from pipeline.shards.jpeg import BadPhotoError, check_jpeg, check_jpeg_header
from pipeline.shards.person_record import RefusedPersonError, check_person
from pipeline.shards.photo_group import photo_group
from pipeline.shards.shard_list import open_shard
from pipeline.shards.tar_stream import Members, NotATarError, SourceError, TarCutError, TarMember, TarStream
from schemas.input_shard import InputShard
from schemas.person import Person, PersonId, Photo, Rejection, RejectionReason

MAX_JPEG_BYTES = 64 * 2**20
MAX_LABEL_BYTES = 16 * 2**20
MAX_PEOPLE = 1000
_MAX_KEY_CHARACTERS = 1024
_PHOTO_PARTS = frozenset({"jpg", "jpeg"})
LABEL_PART = "data.pyd"


@dataclass(slots=True, kw_only=True)
class _Sample:
    """Consecutive members of one key: the bytes we read, the names of all parts, and what is wrong with it."""

    key: str
    data: dict[str, bytes] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)
    problem: tuple[RejectionReason, str] | None = None

    @property
    def jpeg(self) -> bytes | None:
        return self.data.get("jpg", self.data.get("jpeg"))

    @property
    def labels(self) -> bytes | None:
        return self.data.get(LABEL_PART)


def read_shard(
    info: InputShard, *, check_photos: bool = True, keys: Container[str] | None = None
) -> Iterator[Photo | Rejection]:
    """Photos of a shard in file order, each preceded by the rejections of its people. Memory: one sample.

    check_photos=False spares the trial decode of each JPEG (its header is still checked), for a caller that decodes the
    photos anyway and has to handle a damaged one itself. keys: samples of other keys are passed over unread.

    Raises nothing for bad content. SHARD_UNREADABLE: reading failed, perhaps midway and perhaps only this time (network
    down, file changed): a label file made from what came before would be incomplete. SHARD_TRUNCATED: the shard itself
    is short or damaged; all whole samples before the damage were given.
    """
    shard = _ShardReader(info, check_jpeg if check_photos else check_jpeg_header, keys)
    try:
        source = open_shard(info)
    except Exception as error:  # fsspec passes on errors of botocore and aiohttp, which share no base class
        cause = f"{type(error).__name__}: {error}"
        yield shard.rejection(RejectionReason.SHARD_UNREADABLE, f"cannot open {info.url}: {cause}")
        return
    with closing(source):
        yield from shard.read(TarStream(source, info.size))


def read_members(info: InputShard, members: Members, *, check_photos: bool = True) -> Iterator[Photo | Rejection]:
    """As `read_shard`, of some members of a shard alone, consecutive as in the file (`random_access`)."""
    yield from _ShardReader(info, check_jpeg if check_photos else check_jpeg_header, None).read(members)


class _ShardReader:
    """State of one pass over a shard: the sample being gathered and the keys seen."""

    def __init__(
        self, info: InputShard, photo_size: Callable[[bytes], tuple[int, int]], keys: Container[str] | None
    ) -> None:
        self._info = info
        self._photo_size = photo_size
        self._keys = keys
        self._sample: _Sample | None = None
        self._seen: set[bytes] = set()
        self._passed_over = False
        self._n_nameless = 0
        self._first_nameless = ""

    def rejection(
        self, reason: RejectionReason, detail: str, key: str | None = None, person: int | None = None
    ) -> Rejection:
        return Rejection(
            dataset=self._info.dataset,
            shard=self._info.shard,
            key=key,
            person=person,
            reason=reason,
            detail=detail.encode("utf-8", "backslashreplace").decode(),  # hostile text must not break the audit's files
        )

    def read(self, tar: Members) -> Iterator[Photo | Rejection]:
        """Everything in the archive, then what is to be said of the archive as a whole."""
        ending: Iterable[Photo | Rejection] = ()
        try:
            for member in tar:
                yield from self._take(member, tar)
        except (NotATarError, SourceError) as error:
            yield self.rejection(RejectionReason.SHARD_UNREADABLE, f"{self._info.url}: {error}")
            return
        except TarCutError as error:
            ending = self._truncated(error)
        yield from self._finish()
        yield from ending
        yield from self._summary(whole=not ending)

    def _take(self, member: TarMember, tar: Members) -> Iterator[Photo | Rejection]:
        """Add a member to its sample; what that completes is yielded first."""
        if member.kind == "folder":
            return
        if member.kind != "file":
            detail = f"{_printable(member.name)} is a {member.kind}: only plain files are read"
            yield self.rejection(RejectionReason.UNSAFE_NAME, detail)
            return
        key, part = split_name(member.name)
        if not part:
            self._n_nameless += 1
            self._first_nameless = self._first_nameless or _printable(member.name)
            return
        if self._sample is None or self._sample.key != key or part in self._sample.parts:
            yield from self._finish()
            if self._keys is not None and key not in self._keys:
                self._passed_over = True
                return
            self._sample = self._begin(key)
        self._gather(self._sample, part, member, tar)

    def _begin(self, key: str) -> _Sample:
        if problem := key_problem(key):
            return _Sample(key=key, problem=(RejectionReason.UNSAFE_NAME, problem))
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        if digest in self._seen:
            detail = "a second sample with this key: the first one is kept"
            return _Sample(key=key, problem=(RejectionReason.DUPLICATE_KEY, detail))
        self._seen.add(digest)
        return _Sample(key=key)

    def _gather(self, sample: _Sample, part: str, member: TarMember, tar: Members) -> None:
        sample.parts.add(part)
        limit = MAX_LABEL_BYTES if part == LABEL_PART else MAX_JPEG_BYTES if part in _PHOTO_PARTS else None
        if sample.problem is not None or limit is None:
            return
        if member.size > limit:
            sample.problem = (RejectionReason.TOO_LARGE, f".{part} declares {member.size} bytes, at most {limit}")
            return
        sample.data[part] = tar.read(member)

    def _finish(self) -> Iterator[Photo | Rejection]:
        """Photo and rejections of the gathered sample."""
        sample, self._sample = self._sample, None
        if sample is None:
            return
        if sample.problem is None and (sample.jpeg is None or sample.labels is None):
            reason = RejectionReason.MISSING_LABELS if sample.jpeg is not None else RejectionReason.MISSING_PHOTO
            missing = "data.pyd" if sample.jpeg is not None else "jpg"
            parts = ", ".join(_printable(part) for part in sorted(sample.parts)[:8])
            sample.problem = (reason, f"no .{missing} beside .{parts}")
        if sample.problem is not None:
            yield self.rejection(*sample.problem, key=_recorded_key(sample.key))
            return
        yield from self._photo(sample.key, sample.jpeg or b"", sample.labels or b"")

    def _photo(self, key: str, jpeg: bytes, labels: bytes) -> Iterator[Photo | Rejection]:
        try:
            width, height = self._photo_size(jpeg)
            records = _load_people(labels)
        except BadPhotoError as error:
            yield self.rejection(error.reason, str(error), key)
            return
        except ForbiddenPickleError as error:
            yield self.rejection(RejectionReason.FORBIDDEN_PICKLE, f"data.pyd: {error}", key)
            return
        except MalformedPickleError as error:
            yield self.rejection(RejectionReason.MALFORMED_LABELS, f"data.pyd: {error}", key)
            return
        if len(records) > MAX_PEOPLE:
            detail = f"data.pyd lists {len(records)} people, at most {MAX_PEOPLE}"
            yield self.rejection(RejectionReason.TOO_LARGE, detail, key)
            return
        people, rejections = self._people(records, key, (width, height))
        yield from rejections
        group = photo_group(jpeg, self._info.dataset, key, [p.track for p in people if p.track is not None])
        grouped = tuple(replace(person, photo_group=group) for person in people)
        yield Photo(key=key, jpeg=jpeg, width=width, height=height, people=grouped)

    def _people(
        self, records: list[object], key: str, photo_size: tuple[int, int]
    ) -> tuple[list[Person], list[Rejection]]:
        people: list[Person] = []
        rejections: list[Rejection] = []
        for index, record in enumerate(records):
            person_id = PersonId(self._info.dataset, self._info.shard, key, index)
            try:
                checked = check_person(record, person_id, photo_size)
            except RefusedPersonError as error:
                rejections.append(self.rejection(error.reason, str(error), key, index))
                continue
            people.append(checked.person)
            rejections += [self.rejection(reason, detail, key, index) for reason, detail in checked.repairs]
        return people, rejections

    def _truncated(self, error: TarCutError) -> list[Rejection]:
        """The rejection of a short archive. A sample that lacks a part is dropped: the part may be what is cut off."""
        detail = f"{self._info.url}: {error}. Whole samples before it were read; fetch the shard again"
        sample = self._sample
        if sample is not None and sample.problem is None and (sample.jpeg is None or sample.labels is None):
            self._sample = None
            detail += f"; dropped the incomplete {sample.key!r}"
        return [self.rejection(RejectionReason.SHARD_TRUNCATED, detail)]

    def _summary(self, *, whole: bool) -> Iterator[Rejection]:
        if self._n_nameless:
            detail = f"{self._n_nameless} members not named KEY.PART were left out, the first: {self._first_nameless}"
            yield self.rejection(RejectionReason.UNSAFE_NAME, detail)
        if whole and not self._seen and not self._passed_over:
            yield self.rejection(RejectionReason.SHARD_EMPTY, f"{self._info.url} holds no samples")


def split_name(name: str) -> tuple[str, str]:
    """(key, part) of a member, split as webdataset does at the first dot of its last part; part is "" if that fails."""
    folder, slash, base = name.rpartition("/")
    stem, _, part = base.partition(".")
    return (folder + slash + stem, part.lower()) if stem else (name, "")


def key_problem(key: str) -> str | None:
    """Why a key is refused: keys become file names of overlays and rows of tables."""
    if len(key) > _MAX_KEY_CHARACTERS:
        return f"a name of {len(key)} characters, at most {_MAX_KEY_CHARACTERS}: {_printable(key)}"
    if not key.isprintable():  # also refuses bytes that are not UTF-8, which tarfile gives as surrogates
        return f"a name with control characters or bytes that are not UTF-8: {_printable(key)}"
    if key.startswith("/") or ".." in key.split("/") or "\\" in key:
        return f"a name that leads, or on some systems would lead, out of its folder: {_printable(key)}"
    return None


def _recorded_key(key: str) -> str:
    return key if key_problem(key) is None else _printable(key)


def _printable(name: str) -> str:
    return ascii(name[:100])[1:-1]


def _load_people(labels: bytes) -> list[object]:
    people = restricted_loads(labels)
    if not isinstance(people, list):
        raise MalformedPickleError(f"expected a list with one dict per person, met a {type(people).__name__}")
    return people
