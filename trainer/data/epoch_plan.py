"""The plan of an epoch: who is in which global batch, before any photo is opened.

The sequence of global batches of G people depends on (config, generation, epoch) alone. It is dealt from L lanes: each
gives G / L people to every global batch, in order, so that a rank owns whole lanes and reads no other shards, and still
has the same consecutive rows of every global batch (`trainer.data.lane_shares`). A lane walks its own run of shards in
file order and gives each person at most about `shuffle_people` places away, so that a photo is decoded once and few
patches wait.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numpy.typing import NDArray

from trainer.data.config import TrainDataConfig
from trainer.data.label_index import LabelIndex

_SHARDS, _PLACES = "shards", "places"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """The people of one lane in the order of reading, all arrays (m,). A run is a stretch of one shard.

    shard, row: which label row. run: number of the stretch it is read in. draw: how often the person was drawn before
    in this epoch, the same all along a run. opens: the first row of its shard's first reading. order: the places in
    order of giving.
    """

    shard: Int32[np.ndarray, "m"]
    row: Int32[np.ndarray, "m"]
    run: Int32[np.ndarray, "m"]
    draw: Int32[np.ndarray, "m"]
    opens: Bool[np.ndarray, "m"]
    order: Int64[np.ndarray, "m"]

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPlan:
    """batches of the epoch; people drawn at least once; rows to train on that the mix does not draw this time."""

    batches: int
    lanes: tuple[LanePlan, ...]
    drawn: int
    not_drawn: int


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The people of one data set in order of reading: pass after pass over its shuffled shards, arrays (quota,). Each
    pass draws everybody once, so `draw` is its number.
    """

    person: NDArray[np.int64]
    run: NDArray[np.int64]
    draw: NDArray[np.int64]


class NobodyToTrainOnError(ValueError):
    """The generation has no row to train on, or none of a data set of the mix."""


def plan_epoch(config: TrainDataConfig, index: LabelIndex, epoch: int) -> EpochPlan:
    """Every person at least once, unless `config.mix` says otherwise; the last batch is filled with people met before.

    Raises NobodyToTrainOnError.
    """
    of_dataset = _shards_by_dataset(index)
    sizes = {name: sum(len(index.training.of_shard(s)) for s in shards) for name, shards in of_dataset.items()}
    batches = batches_per_epoch(config, index)
    if not batches:
        raise NobodyToTrainOnError(
            f"none of the {index.rows} label rows can be trained on: {len(index.held_out)} are held out, "
            f"left out: {dict(index.left_out)}. Lower held_out_share, or give more shards."
        )
    quotas = _quotas(sizes, config.mix_weights(), batches * config.global_batch)
    sequences: list[_Sequence] = []
    for name, quota in quotas.items():
        sequences.append(_sequence(index, name, of_dataset[name], quota, config.seed, epoch))
    merged = _interleave(sequences)
    drawn = int((merged.draw == 0).sum())
    cut = np.arange(1, config.lanes) * (len(merged.person) // config.lanes)
    parts = zip(*(np.split(a, cut) for a in (merged.person, merged.run, merged.draw)), strict=True)
    lanes = tuple(_lane(index, config, epoch, i, _Sequence(*part)) for i, part in enumerate(parts))
    return EpochPlan(batches=batches, lanes=lanes, drawn=drawn, not_drawn=len(index.training) - drawn)


def batches_per_epoch(config: TrainDataConfig, index: LabelIndex) -> int:
    """As many as hold every person once; the same in every epoch."""
    return -(-len(index.training) // config.global_batch)


def _shards_by_dataset(index: LabelIndex) -> dict[str, list[int]]:
    """Numbers of the shards that have somebody to train on."""
    found: dict[str, list[int]] = {}
    for number, shard in enumerate(index.shards):
        if len(index.training.of_shard(number)):
            found.setdefault(shard.source.dataset, []).append(number)
    return found


def _quotas(sizes: Mapping[str, int], weights: Mapping[str, float] | None, places: int) -> dict[str, int]:
    """How many of the epoch's places each data set fills: by weight, rounded so that the sum is right."""
    if weights is not None and (missing := weights.keys() - sizes.keys()):
        raise NobodyToTrainOnError(
            f"mix names {', '.join(sorted(missing))}, where nobody can be trained on; there are: {', '.join(sizes)}."
        )
    weights = sizes if weights is None else weights
    share = np.array(list(weights.values()), np.float64) / sum(weights.values()) * places
    quota = np.floor(share + 1e-9).astype(np.int64)
    quota[np.argsort(quota - share, kind="stable")[: places - quota.sum()]] += 1
    return {name: int(n) for name, n in zip(weights, quota, strict=True) if n}


def _sequence(index: LabelIndex, dataset: str, shards: list[int], quota: int, seed: int, epoch: int) -> _Sequence:
    people: list[NDArray[np.int64]] = []
    count = sum(len(index.training.of_shard(s)) for s in shards)
    for number in range(-(-quota // count)):
        for shard in _generator(seed, epoch, _SHARDS, dataset, number).permutation(shards):
            people.append(np.arange(index.training.start[shard], index.training.start[shard + 1]))
    run = np.repeat(np.arange(len(people)), [len(part) for part in people])
    person = np.concatenate(people)
    return _Sequence(person[:quota], run[:quota], np.arange(quota) // count)


def _interleave(sequences: list[_Sequence]) -> _Sequence:
    """One sequence in which each data set is spread evenly; runs are numbered apart."""
    if len(sequences) == 1:
        return sequences[0]
    time = np.concatenate([(np.arange(len(s.person)) + 0.5) / len(s.person) for s in sequences])
    order = np.argsort(time, kind="stable")
    offset = np.cumsum([0, *(s.run.max() + 1 for s in sequences[:-1])])
    run = np.concatenate([s.run + o for s, o in zip(sequences, offset, strict=True)])
    person, draw = (np.concatenate([getattr(s, name) for s in sequences]) for name in ("person", "draw"))
    return _Sequence(person[order], run[order], draw[order])


def _lane(index: LabelIndex, config: TrainDataConfig, epoch: int, number: int, people: _Sequence) -> LanePlan:
    shard = np.searchsorted(index.training.start, people.person, side="right") - 1
    moved = _generator(config.seed, epoch, _PLACES, "", number).random(len(people.person)) * config.shuffle_people
    return LanePlan(
        shard=shard.astype(np.int32),
        row=index.training.rows[people.person],
        run=people.run.astype(np.int32),
        draw=people.draw.astype(np.int32),
        opens=(people.draw == 0) & (people.person == index.training.start[shard]),
        order=np.argsort(np.arange(len(moved)) + moved, kind="stable"),
    )


def _generator(seed: int, epoch: int, what: str, name: str, number: int) -> np.random.Generator:
    text = "\x1f".join(map(str, (seed, epoch, what, name, number)))
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little"))
