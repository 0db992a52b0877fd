"""What people said of labels: a table beside them that only grows, one file a review: nobody overwrites anybody.

Two reviewers at once write two files; a killed writer leaves a whole file or none. The latest of a person counts.
"""

import io
import re
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.labels.files.errors import LabelStoreError
from pipeline.storage.storage import Storage
from schemas.person import PersonId

FOLDER: Final = "reviews"
MAX_NOTE_CHARACTERS: Final = 2000
_READERS: Final = 8
_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{32}\.parquet")


class Verdict(StrEnum):
    """What a reviewer found; the latest of a person counts."""

    GOOD = "good"
    BAD_KEYPOINTS = "bad_keypoints"
    BAD_LABEL = "bad_label"
    WRONG_PERSON = "wrong_person"
    WITHDRAWN = "withdrawn"  # as if nobody had reviewed the person


REVIEW_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("person", pa.int32(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("snapshot_id", pa.int64(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
    ]
)
"""One row a review. round, snapshot_id: the generation that the reviewer looked at; time: of the reviewing server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A row of REVIEW_SCHEMA."""

    id: str
    time: datetime
    reviewer: str
    dataset: str
    shard: str
    key: str
    person: int
    round: int
    snapshot_id: int
    verdict: Verdict
    note: str

    @property
    def who(self) -> PersonId:
        return PersonId(self.dataset, self.shard, self.key, self.person)


def new_review(
    who: PersonId, *, reviewer: str, round: int, snapshot_id: int, verdict: Verdict, note: str = ""
) -> Review:
    """A review as of now. Raises ValueError for a note that is too long."""
    if len(note) > MAX_NOTE_CHARACTERS:
        raise ValueError(f"the note has {len(note)} characters, at most {MAX_NOTE_CHARACTERS}")
    return Review(
        id=uuid.uuid4().hex,
        time=datetime.now(UTC),
        reviewer=reviewer,
        **who._asdict(),
        round=round,
        snapshot_id=snapshot_id,
        verdict=verdict,
        note=note,
    )


def write_review(storage: Storage, review: Review) -> None:
    """Once this returns, the review is on the disk or in the bucket. Raises OSError."""
    sink = io.BytesIO()
    pq.write_table(review_table([review]), sink, compression="zstd")
    storage.create(f"{FOLDER}/{review.time:%Y%m%dT%H%M%S%f}Z-{review.id}.parquet", sink.getvalue())


def review_files(storage: Storage) -> list[str]:
    """Names below the root of all reviews, oldest first; what is no review, such as a temporary file, is left out."""
    return [f"{FOLDER}/{name}" for name in storage.names(FOLDER) if _NAME.fullmatch(name)]


def read_reviews(storage: Storage, known: Mapping[str, Review] | None = None) -> dict[str, Review]:
    """File -> review, oldest first. known: those read before; a file never changes, so they are not read again.

    Raises LabelStoreError naming a file that is no review.
    """
    before = known or {}
    names = review_files(storage)
    new = [name for name in names if name not in before]
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(new, pool.map(lambda name: _read(storage, name), new), strict=True))
    return {name: before[name] if name in before else found[name] for name in names}


def latest_reviews(reviews: Iterable[Review]) -> dict[PersonId, Review]:
    """The review of each person that counts; withdrawn ones are left out."""
    latest: dict[PersonId, Review] = {}
    for review in sorted(reviews, key=lambda item: (item.time, item.id)):
        latest[review.who] = review
    return {who: review for who, review in latest.items() if review.verdict is not Verdict.WITHDRAWN}


def review_table(reviews: Iterable[Review]) -> pa.Table:
    """As REVIEW_SCHEMA."""
    rows = [asdict(review) | {"verdict": str(review.verdict)} for review in reviews]
    return pa.Table.from_pylist(rows, schema=REVIEW_SCHEMA)


def _read(storage: Storage, name: str) -> Review:
    try:
        table = pq.ParquetFile(pa.BufferReader(storage.read(name))).read(use_threads=False)
        row = table.cast(REVIEW_SCHEMA).to_pylist()[0]
        return Review(**row | {"verdict": Verdict(row["verdict"])})
    except (pa.ArrowInvalid, ValueError, IndexError, KeyError, TypeError) as error:
        raise LabelStoreError(f"{storage.url(name)} is no review: {error}. Restore it, or delete it.") from error
