"""Who there is to train on: the label rows of one generation, shard by shard, as compact arrays of row numbers."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from jaxtyping import Int32, Int64
from numpy.typing import NDArray

from pipeline.labels import LabelStore, read_labels
from schemas.input_shard import InputShard, ShardId
from schemas.labels import Decision
from trainer.data.config import TrainDataConfig
from trainer.data.held_out import is_held_out

logger = logging.getLogger(__name__)

_READERS: Final = 8


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

    left_out: rows whose person the round could not read (`kept_unreadable`), and rows of shards that are not given.
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

    Raises NoSuchGenerationError.
    """
    if shards is None:
        shards = store.lineage(round).inputs
    return index_labels(store.files(round), shards, config.held_out_share)


def index_labels(label_files: Mapping[ShardId, str], shards: Sequence[InputShard], held_out_share: float) -> LabelIndex:
    """The index of label files by (dataset, shard), as `LabelStore.files` plans them, and the shards they belong to."""
    sources = {info.id: info for info in shards}
    with ThreadPoolExecutor(_READERS) as pool:
        read = list(pool.map(partial(_read, share=held_out_share), label_files.items()))
    known: list[LabelledShard] = []
    training: list[NDArray[np.int32]] = []
    held_out: list[NDArray[np.int32]] = []
    left_out = {Decision.KEPT_UNREADABLE.value: 0, "shard_not_given": 0}
    for (identity, file), (train_rows, held_rows, unreadable) in zip(label_files.items(), read, strict=True):
        left_out[Decision.KEPT_UNREADABLE.value] += unreadable
        if identity not in sources:
            left_out["shard_not_given"] += len(train_rows) + len(held_rows)
            logger.warning("%s has labels but is not among the shards: its people are left out", identity)
            continue
        known.append(LabelledShard(source=sources[identity], label_file=file))
        training.append(train_rows)
        held_out.append(held_rows)
    return LabelIndex(
        shards=tuple(known), training=RowsByShard.of(training), held_out=RowsByShard.of(held_out), left_out=left_out
    )


def _read(item: tuple[ShardId, str], share: float) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Rows to train on, rows held out, and how many rows no person could be read for."""
    (dataset, shard), file = item
    table = read_labels(file, ["key", "decision"])
    keys: Any = table["key"].combine_chunks().dictionary_encode()
    by_key = np.array([is_held_out(dataset, shard, key, share) for key in keys.dictionary.to_pylist()], dtype=bool)
    held = by_key[keys.indices.to_numpy()] if len(by_key) else np.zeros(0, bool)
    unreadable = np.array([d == Decision.KEPT_UNREADABLE for d in table["decision"].to_pylist()], dtype=bool)
    rows = np.arange(table.num_rows, dtype=np.int32)
    return rows[~unreadable & ~held], rows[~unreadable & held], int(unreadable.sum())
