"""Who there is to train on: the label rows of one generation, shard by shard, as compact arrays of row numbers."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Int32, Int64
from numpy.typing import NDArray

from pipeline.labels import LabelStore, LabelStoreError, read_labels
from schemas.input_shard import InputShard, ShardId
from schemas.labels import Decision
from trainer.data.config import TrainDataConfig
from trainer.data.split import fold_of, is_held_out

logger = logging.getLogger(__name__)

_READERS: Final = 8
OWN_FOLD: Final = "own_fold"
"""Why a row is left out by a network of cross-fitting: it is there to predict this person."""


class NoPhotoGroupsError(LabelStoreError):
    """A generation from before labels named the group of their photo cannot be cut into folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledShard:
    """A shard and the file with its label rows (path or s3:// URL)."""

    source: InputShard
    label_file: str


@dataclass(frozen=True, slots=True)
class RowsByShard:
    """Row numbers in the label files of the shards: those of shard i are `rows[start[i]:start[i + 1]]`.

    A person's number is the place in `rows`: what is shuffled is these numbers, 4 bytes a person.
    """

    rows: Int32[np.ndarray, "people"]
    start: Int64[np.ndarray, "shards_and_end"]

    @classmethod
    def of(cls, parts: Sequence[Int32[np.ndarray, "_"]]) -> "RowsByShard":
        rows = np.concatenate([np.zeros(0, np.int32), *parts])
        return cls(rows, np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def of_shard(self, shard: int) -> Int32[np.ndarray, "n"]:
        return self.rows[self.start[shard] : self.start[shard + 1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelIndex:
    """A generation's people, each row either to train on, held out for validation, or left out for a counted reason.

    left_out: rows whose person the round could not read (`kept_unreadable`), rows of shards that are not given, and
    with several folds those of the fold that is not trained on (OWN_FOLD).
    """

    shards: tuple[LabelledShard, ...]
    training: RowsByShard
    held_out: RowsByShard
    left_out: Mapping[str, int]

    @property
    def rows(self) -> int:
        """All label rows of the generation."""
        return len(self.training) + len(self.held_out) + sum(self.left_out.values())


def index_generation(
    store: LabelStore, round: int, config: TrainDataConfig, shards: Sequence[InputShard] | None = None
) -> LabelIndex:
    """Read who is in generation `round`: once a training, some ms a shard. shards: default those of its lineage.

    Raises NoSuchGenerationError, NoPhotoGroupsError.
    """
    if shards is None:
        shards = store.lineage(round).inputs
    return index_labels(store.files(round), shards, config.held_out_share, folds=config.folds, fold=config.fold)


def index_labels(
    label_files: Mapping[ShardId, str],
    shards: Sequence[InputShard],
    held_out_share: float,
    *,
    folds: int = 1,
    fold: int = 0,
) -> LabelIndex:
    """The index of label files by (dataset, shard), as `LabelStore.files` plans them, and the shards they belong to.

    Raises NoPhotoGroupsError.
    """
    sources = {info.id: info for info in shards}
    with ThreadPoolExecutor(_READERS) as pool:
        read = list(pool.map(_read, label_files.items()))
    _check_groups(read, folds)
    known: list[LabelledShard] = []
    training: list[NDArray[np.int32]] = []
    held_out: list[NDArray[np.int32]] = []
    left_out = {Decision.KEPT_UNREADABLE.value: 0, "shard_not_given": 0} | ({OWN_FOLD: 0} if folds > 1 else {})
    for (identity, file), readable in zip(label_files.items(), read, strict=True):
        left_out[Decision.KEPT_UNREADABLE.value] += readable.unreadable
        if identity not in sources:
            left_out["shard_not_given"] += len(readable.rows)
            logger.warning("%s has labels but is not among the shards: its people are left out", identity)
            continue
        known.append(LabelledShard(source=sources[identity], label_file=file))
        held = is_held_out(readable.groups, held_out_share)
        own = ~held & (fold_of(readable.groups, folds) == fold) & (folds > 1)
        held_out.append(readable.rows[held])
        training.append(readable.rows[~held & ~own])
        if folds > 1:
            left_out[OWN_FOLD] += int(own.sum())
    return LabelIndex(
        shards=tuple(known), training=RowsByShard.of(training), held_out=RowsByShard.of(held_out), left_out=left_out
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Readable:
    """The rows (n,) of a label file whose person could be read, the groups (n,) of their photos, how many of these are
    not known, and how many rows no person could be read for."""

    rows: Int32[np.ndarray, "n"]
    groups: Int64[np.ndarray, "n"]
    ungrouped: int
    unreadable: int


def _read(item: tuple[ShardId, str]) -> _Readable:
    (dataset, shard), file = item
    table = read_labels(file, ["key", "decision", "photo_group"])
    rows = np.flatnonzero([d != Decision.KEPT_UNREADABLE for d in table["decision"].to_pylist()]).astype(np.int32)
    readable = table.take(rows)
    groups = np.array(readable["photo_group"].fill_null(0).to_numpy())
    unknown = np.flatnonzero(readable["photo_group"].is_null().to_numpy())
    groups[unknown] = [_own_group(dataset, shard, key) for key in readable["key"].take(unknown).to_pylist()]
    return _Readable(rows=rows, groups=groups, ungrouped=len(unknown), unreadable=table.num_rows - len(rows))


def _own_group(dataset: str, shard: str, key: str) -> int:
    """Of a photo in a generation that names no groups: nothing tells whether another one shows the same."""
    digest = hashlib.blake2b("\x1f".join((dataset, shard, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _check_groups(read: Sequence[_Readable], folds: int) -> None:
    count = sum(item.ungrouped for item in read)
    if count and folds > 1:
        raise NoPhotoGroupsError(
            f"{count} label rows do not name the group of their photo, so that nobody knows which fold they are in: "
            "the generation was made by an older version. Make the next one without cross-fitting, and train on that."
        )
    if count:
        logger.warning(
            "%d label rows do not name the group of their photo (a generation of an older version): photos that show "
            "the same may be both trained on and held out", count,
        )  # fmt: skip
