"""Batches for a rank: the lanes it owns, read here or by loader processes, put together in the order of the plan."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from trainer.data.augmentation import draw, no_augmentation
from trainer.data.batch import CropBatch
from trainer.data.collate import collate, concatenate
from trainer.data.config import TrainDataConfig
from trainer.data.epoch_plan import LanePlan, plan_epoch
from trainer.data.join import JoinCounts, PlannedRows, total
from trainer.data.label_index import LabelIndex
from trainer.data.label_use import LabelUse
from trainer.data.lane import Lane
from trainer.data.lane_shares import lanes_of_rank
from trainer.data.shard_walk import JoinedPerson, ShardWalk
from trainer.network.variants import NetworkCamera, NetworkHead


class TooManyLostError(RuntimeError):
    """So many people could not be read that what is left is another data set."""


class FedNetwork(NamedTuple):
    """What decides how people are shown to a network, and which labels it learns."""

    camera: NetworkCamera
    head: NetworkHead


@dataclass(frozen=True, slots=True)
class Part:
    """What one loader gives for a batch, and what became of the rows since then. batch None: nobody was left."""

    batch: CropBatch | None
    counts: JoinCounts


class BatchStream:
    """Iterator of CropBatch. `counts`: what became of the rows so far, on this rank; `rows`: what the plan made of the
    generation's, on all ranks. Raises TooManyLostError on the way.
    """

    def __init__(
        self, parts: "_Parts", rows: PlannedRows, *, loaders: int, batches: int | None, may_lose: float
    ) -> None:
        self.counts = JoinCounts()
        self.rows = rows
        self._batches = batches
        self._may_lose = may_lose
        self._parts_per_batch = loaders if batches is not None and loaders else 1
        self._parts: Iterator[Part] = iter(parts) if not loaders else iter(_loader(parts, loaders))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> CropBatch:
        batches: list[CropBatch] = []
        while not batches:
            parts = [next(self._parts) for _ in range(self._parts_per_batch)]
            self._count(parts)
            batches = [part.batch for part in parts if part.batch is not None]
        return concatenate(batches)

    def _count(self, parts: Sequence[Part]) -> None:
        self.counts = total([self.counts, *(part.counts for part in parts)])
        if self.counts.n_unread > self._may_lose:
            raise TooManyLostError(
                f"{self.counts.n_unread} people could not be read, at most {self._may_lose:.0f} may be: "
                f"{dict(self.counts.lost)}. The log names the shards: fetch them again, or raise max_lost_share."
            )

    def __len__(self) -> int:
        """How many batches this stream gives in all. Raises TypeError for a validation stream, which cannot know."""
        if self._batches is None:
            raise TypeError("the number of validation batches depends on how many people can be read")
        return self._batches


def open_epoch(
    config: TrainDataConfig,
    index: LabelIndex,
    epoch: int,
    *,
    rank: int = 0,
    world: int = 1,
    start_batch: int = 0,
    camera: NetworkCamera = "crop",
    head: NetworkHead = "skel",
) -> BatchStream:
    """The batches of `rank` in an epoch, each its lanes' rows of a global batch, from global batch `start_batch` on.

    camera, head: of the network that they are for.
    Ranks 0 .. world-1 together give the same global batches, in the same order, for every `world`; a stream opened at
    start_batch continues one that gave as many, whatever its `world`. Raises ValueError for more ranks than lanes,
    NobodyToTrainOnError.
    """
    own = lanes_of_rank(config, rank, world)
    plan = plan_epoch(config, index, epoch)
    if not 0 <= start_batch <= plan.batches:
        raise ValueError(f"start_batch={start_batch}: epoch {epoch} has {plan.batches} batches.")
    parts = _EpochParts(
        items=plan.lanes[own.start : own.stop],
        index=index,
        config=config,
        epoch=epoch,
        batches=range(start_batch, plan.batches),
        network=FedNetwork(camera, head),
    )
    rows = PlannedRows(
        rows=index.rows,
        drawn=plan.drawn,
        not_drawn=plan.not_drawn,
        held_out=len(index.held_out),
        left_out=dict(index.left_out),
    )
    return BatchStream(
        parts,
        rows,
        loaders=min(config.workers, len(own)),
        batches=len(parts.batches),
        may_lose=config.max_lost_share * plan.drawn * len(own) / config.lanes,
    )


def open_validation(
    config: TrainDataConfig,
    index: LabelIndex,
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    camera: NetworkCamera = "crop",
    head: NetworkHead = "skel",
) -> BatchStream:
    """The held-out people, not augmented, each once over all ranks, in batches of at most `batch_size`. Lost people are
    left out of the batches. Ranks may give different numbers of batches.
    """
    if not 0 <= rank < world or batch_size < 1:
        raise ValueError(
            f"rank {rank} of {world}, batch_size={batch_size}: expected 0 <= rank < world and a positive size"
        )
    shards = [i for i in range(len(index.shards)) if len(index.held_out.of_shard(i))]
    own = shards[rank::world]
    network = FedNetwork(camera, head)
    parts = _HeldOutParts(items=own, index=index, config=config, batch_size=batch_size, network=network)
    held_out = len(index.held_out)
    rows = PlannedRows(
        rows=index.rows, drawn=held_out, not_drawn=len(index.training), held_out=0, left_out=dict(index.left_out)
    )
    may_lose = config.max_lost_share * sum(len(index.held_out.of_shard(i)) for i in own)
    return BatchStream(parts, rows, loaders=min(config.workers, len(own)), batches=None, may_lose=may_lose)


class _Parts(IterableDataset[Part]):
    """Work that loader processes share: each takes a stretch of `items`."""

    def __init__(self, items: Sequence[Any], index: LabelIndex, config: TrainDataConfig, network: FedNetwork) -> None:
        self._items = items
        self._index = index
        self._config = config
        self._network = network
        self._use = LabelUse.of(config, network.head)

    def _collated(self, people: Sequence[JoinedPerson]) -> CropBatch:
        return collate(people, self._config.weights, self._network.camera, self._network.head)

    def _own(self) -> list[Any]:
        """The items of this loader process, or all of them outside of one."""
        info = get_worker_info()
        if info is None:
            return list(self._items)
        places = np.array_split(np.arange(len(self._items)), info.num_workers)[info.id]
        return [self._items[place] for place in places]


class _EpochParts(_Parts):
    """For every batch, in order, the people of the loader's lanes."""

    def __init__(
        self,
        items: Sequence[LanePlan],
        index: LabelIndex,
        config: TrainDataConfig,
        network: FedNetwork,
        epoch: int,
        batches: range,
    ) -> None:
        super().__init__(items, index, config, network)
        self.batches = batches
        self._augmentation_of = partial(draw, config.augment, config.seed, epoch)

    def __iter__(self) -> Iterator[Part]:
        count = self._config.global_batch // self._config.lanes
        start = self.batches.start * count
        lanes = [Lane(plan, self._index, self._augmentation_of, self._use, start) for plan in self._own()]
        for _ in self.batches:
            taken = [lane.take(count) for lane in lanes]
            people = [person for given, _ in taken for person in given]
            yield Part(self._collated(people), total(counts for _, counts in taken))


class _HeldOutParts(_Parts):
    """Batches of the held-out people of the loader's shards."""

    def __init__(
        self, items: Sequence[int], index: LabelIndex, config: TrainDataConfig, network: FedNetwork, batch_size: int
    ) -> None:
        super().__init__(items, index, config, network)
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Part]:
        found: list[JoinedPerson] = []
        counts = JoinCounts()
        for number in self._own():
            rows = self._index.held_out.of_shard(number)
            walk = ShardWalk(self._index.shards[number], rows, no_augmentation, self._use, count_strangers=False)
            for person in walk:
                counts += JoinCounts(used=1) if person.lost is None else JoinCounts(lost={person.lost: 1})
                found += [person] if person.lost is None else []
                if len(found) == self._batch_size:
                    yield Part(self._collated(found), counts)
                    found, counts = [], JoinCounts()
        if counts != JoinCounts():
            yield Part(self._collated(found) if found else None, counts)


def _loader(parts: _Parts, loaders: int) -> DataLoader[Part]:
    """Loader processes; their parts come in turn, so that the n-th of each belong together.

    They are forked from a clean server process, which has imported this module once: a fork of the training process
    with its threads (Ray, s3fs, CUDA) may hang, and a fresh interpreter each takes seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return DataLoader(parts, batch_size=None, num_workers=loaders, multiprocessing_context=context)
