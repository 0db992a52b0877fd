"""The global batches: the same for every number of ranks and loaders, resumable, every row accounted for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from schemas.person import PersonId
from tests.trainer.data.made_generation import assert_same, make_generation
from trainer.data import BatchStream, CropBatch, JoinCounts, LabelIndex, TrainDataConfig, open_epoch, total
from trainer.data.collate import concatenate
from trainer.data.lane_shares import lanes_of_rank, rows_of_rank

CONFIG = TrainDataConfig(global_batch=8, lanes=4, seed=3, shuffle_people=8)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    """3 shards of 24 people, 2 data sets: 144 people, 18 batches."""
    return make_generation(tmp_path_factory.mktemp("made"), datasets=("a", "b"))


@pytest.fixture(scope="module")
def whole(index: LabelIndex) -> list[CropBatch]:
    return list(open_epoch(CONFIG, index, 0))


def ids(batches: list[CropBatch]) -> list[PersonId]:
    return [id for batch in batches for id in batch.ids]


def assert_complete(streams: list[BatchStream]) -> JoinCounts:
    """Every label row of the generation is in exactly one count."""
    rows, counts = streams[0].rows, total(stream.counts for stream in streams)
    assert rows.rows == rows.drawn + rows.not_drawn + rows.held_out + sum(rows.left_out.values())
    assert rows.drawn == counts.used + counts.n_lost
    return counts


def test_everybody_once(index: LabelIndex, whole: list[CropBatch]) -> None:
    assert len(index.training) == 144
    assert [len(batch) for batch in whole] == [8] * 18
    assert len(set(ids(whole))) == 144


@pytest.mark.parametrize(("world", "shares"), [(2, [4, 4]), (3, [4, 2, 2]), (4, [2, 2, 2, 2])])
def test_ranks_together_give_the_same_global_batches(
    index: LabelIndex, whole: list[CropBatch], world: int, shares: list[int]
) -> None:
    streams = [open_epoch(CONFIG, index, 0, rank=rank, world=world) for rank in range(world)]
    assert [len(stream) for stream in streams] == [18] * world
    for expected, parts in zip(whole, zip(*streams, strict=True), strict=True):
        assert [len(part) for part in parts] == shares
        assert_same(concatenate(parts), expected)
    assert assert_complete(streams).used == 144


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more processes than cores
@pytest.mark.parametrize("workers", [1, 3])
def test_loader_processes_change_nothing(index: LabelIndex, whole: list[CropBatch], workers: int) -> None:
    config = TrainDataConfig(global_batch=8, lanes=4, seed=3, shuffle_people=8, workers=workers)
    stream = open_epoch(config, index, 0)
    batches = list(stream)
    assert len(batches) == len(whole)
    for batch, expected in zip(batches, whole, strict=True):
        assert_same(batch, expected)
    assert_complete([stream])


@pytest.mark.parametrize("start", [1, 7, 17, 18])
def test_resumed_epoch_goes_on_where_it_was(index: LabelIndex, whole: list[CropBatch], start: int) -> None:
    stream = open_epoch(CONFIG, index, 0, start_batch=start)
    assert len(stream) == 18 - start
    for batch, expected in zip(stream, whole[start:], strict=True):
        assert_same(batch, expected)


def test_what_was_given_before_is_not_decoded_again(index: LabelIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.data import sample

    decoded: list[bytes] = []
    decode = sample.decode_photo
    monkeypatch.setattr(sample, "decode_photo", lambda jpeg, *rest: decoded.append(jpeg) or decode(jpeg, *rest))
    list(open_epoch(CONFIG, index, 0))
    once = len(decoded)
    # 72 photos, and those whose people went to two lanes
    assert 72 <= once <= 72 + CONFIG.lanes
    decoded.clear()
    list(open_epoch(CONFIG, index, 0, start_batch=16))
    assert len(decoded) <= 16  # as many people are left


def test_epochs_and_seeds_differ_and_repeat(index: LabelIndex, whole: list[CropBatch]) -> None:
    again, other = list(open_epoch(CONFIG, index, 0)), list(open_epoch(CONFIG, index, 1))
    for a, b in zip(again, whole, strict=True):
        assert_same(a, b)
    assert sorted(ids(other)) == sorted(ids(whole))
    assert ids(other) != ids(whole)
    assert not torch.equal(other[0].patches, whole[0].patches)
    seeded = TrainDataConfig(global_batch=8, lanes=4, seed=4, shuffle_people=8)
    assert ids(list(open_epoch(seeded, index, 0))) != ids(whole)


def test_a_person_is_augmented_the_same_in_any_batch(index: LabelIndex, whole: list[CropBatch]) -> None:
    """Other batch size, lanes and window: other batches of the same augmented people."""
    config = TrainDataConfig(global_batch=6, lanes=2, seed=3, shuffle_people=50)
    expected = {id: (batch, row) for batch in whole for row, id in enumerate(batch.ids)}
    for batch in open_epoch(config, index, 0):
        for row, id in enumerate(batch.ids):
            other, at = expected[id]
            for name in CropBatch.__dataclass_fields__:
                if name != "ids":
                    assert torch.equal(getattr(batch, name)[row], getattr(other, name)[at]), name


def test_shuffle_mixes_people_of_different_shards_and_places(whole: list[CropBatch]) -> None:
    shards = [len({(id.dataset, id.shard) for id in batch.ids}) for batch in whole]
    photos = [len({(id.dataset, id.shard, id.key) for id in batch.ids}) for batch in whole]
    assert sum(shards) / len(shards) > 3
    assert sum(photos) / len(photos) > 6  # of 8 people; without shuffling it would be 4


def test_mix_by_weight(index: LabelIndex) -> None:
    config = TrainDataConfig(global_batch=8, lanes=4, shuffle_people=8, mix="a=3,b=1")
    stream = open_epoch(config, index, 0)
    batches = list(stream)
    by_dataset = Counter(id.dataset for id in ids(batches))
    assert by_dataset == {"a": 108, "b": 36}
    assert set(Counter(id for id in ids(batches) if id.dataset == "a").values()) == {1, 2}
    assert max(Counter(id for id in ids(batches) if id.dataset == "b").values()) == 1
    assert stream.rows.not_drawn == 36
    assert assert_complete([stream]).repeated == 36
    assert all(4 <= sum(id.dataset == "a" for id in batch.ids) <= 8 for batch in batches)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    """72 people of data set a, and 3 of b."""
    return make_generation(tmp_path_factory.mktemp("uneven"), datasets=("a", "b"), photos_of={"b": 1})


MIXED = TrainDataConfig(global_batch=8, lanes=4, seed=3, shuffle_people=8, mix="a=1,b=1")


def test_a_person_drawn_often_has_another_crop_each_time(uneven: LabelIndex) -> None:
    """80 places, half of them for 3 people; drawn with equal numbers their crops are those of any lanes."""
    stream = open_epoch(MIXED, uneven, 0)
    seen: dict[PersonId, set[bytes]] = {}
    batches = list(stream)
    for batch in batches:
        for row, id in enumerate(batch.ids):
            seen.setdefault(id, set()).add(batch.keypoints_2d[row].numpy().tobytes())
    times = Counter(ids(batches))
    assert {times[id] for id in times if id.dataset == "b"} == {13, 14}
    assert {id: len(crops) for id, crops in seen.items()} == dict(times)
    assert assert_complete([stream]).repeated == 80 - 3 - 40
    fewer_lanes = TrainDataConfig(global_batch=8, lanes=1, seed=3, shuffle_people=8, mix="a=1,b=1")
    again: dict[PersonId, set[bytes]] = {}
    for batch in open_epoch(fewer_lanes, uneven, 0):
        for row, id in enumerate(batch.ids):
            again.setdefault(id, set()).add(batch.keypoints_2d[row].numpy().tobytes())
    assert again == seen


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_repeated_draws_are_the_same_for_all_ranks_and_loaders_and_after_a_stop(uneven: LabelIndex) -> None:
    expected = list(open_epoch(MIXED, uneven, 0))
    ranks = [open_epoch(MIXED, uneven, 0, rank=rank, world=2) for rank in range(2)]
    for batch, parts in zip(expected, zip(*ranks, strict=True), strict=True):
        assert_same(concatenate(parts), batch)
    loaded = open_epoch(replace(MIXED, workers=3), uneven, 0)
    for batch, found in zip(expected, loaded, strict=True):
        assert_same(found, batch)
    for batch, found in zip(expected[6:], open_epoch(MIXED, uneven, 0, start_batch=6), strict=True):
        assert_same(found, batch)


def test_fewer_people_than_a_batch(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=1, photos=3)
    config = TrainDataConfig(global_batch=16, lanes=4)
    stream = open_epoch(config, index, 0)
    (batch,) = stream
    assert len(batch) == 16
    assert set(Counter(batch.ids).values()) == {2, 3}
    counts = assert_complete([stream])
    assert (counts.used, counts.repeated) == (6, 10)


def test_an_epoch_goes_on_with_another_number_of_ranks(index: LabelIndex, whole: list[CropBatch]) -> None:
    """As an elastic training does: 3 ranks, then 2, then 1, each from where the ones before were."""
    given: list[CropBatch] = []
    for world, count in ((3, 5), (2, 6), (1, 7)):
        ranks = [open_epoch(CONFIG, index, 0, rank=r, world=world, start_batch=len(given)) for r in range(world)]
        given += [concatenate([next(stream) for stream in ranks]) for _ in range(count)]
    for batch, expected in zip(given, whole, strict=True):
        assert_same(batch, expected)


@pytest.mark.parametrize("world", range(1, 9))
def test_any_number_of_ranks_shares_all_lanes(world: int) -> None:
    config = TrainDataConfig(global_batch=24, lanes=8)
    lanes = [lanes_of_rank(config, rank, world) for rank in range(world)]
    assert [lane for own in lanes for lane in own] == list(range(8))
    assert {len(own) for own in lanes} <= {8 // world, 8 // world + 1}
    assert [row for rank in range(world) for row in rows_of_rank(config, rank, world)] == list(range(24))


def test_impossible_ranks_say_what_to_set(index: LabelIndex) -> None:
    with pytest.raises(ValueError, match="Use fewer ranks, or set data"):
        open_epoch(CONFIG, index, 0, rank=0, world=5)
    with pytest.raises(ValueError, match="18 batches"):
        open_epoch(CONFIG, index, 0, start_batch=19)
