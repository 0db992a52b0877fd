"""Nobody is predicted or validated by a network that was trained on the same photo: not under another name either."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.shards import RawSample, list_shards, write_shard
from schemas.input_shard import ShardId
from schemas.person import PersonId
from tests.pipeline.shards.samples import person, photo_bytes, read
from tests.trainer.data.made_generation import ids_of, label_table, make_generation, samples, write_labels
from trainer.data import LabelIndex, TrainDataConfig, open_epoch, open_validation
from trainer.data.label_index import OWN_FOLD, NoPhotoGroupsError, index_labels
from trainer.data.split import fold_of, is_held_out

CONFIG = TrainDataConfig(global_batch=8, lanes=4, max_lost_share=0.0)
RANDOM = np.random.default_rng(0).integers(-(2**63), 2**63, 20_000)


def trained_on(index: LabelIndex) -> set[PersonId]:
    """Everybody whom two epochs of batches hold."""
    return {id for epoch in range(2) for batch in open_epoch(CONFIG, index, epoch) for id in batch.ids}


def validated_on(index: LabelIndex) -> set[PersonId]:
    return {id for batch in open_validation(CONFIG, index, batch_size=8) for id in batch.ids}


def photos_of(ids: set[PersonId]) -> set[tuple[str, str]]:
    """(shard, number of the photo): what a made photo shows, in whichever data set."""
    return {(id.shard, id.key.rpartition("/")[2]) for id in ids}


def index_without_groups(
    folder: Path, *, datasets: Sequence[str] = ("made",), share: float = 0.0, folds: int = 1
) -> LabelIndex:
    """A generation of an older version, whose photos are known by data set, shard and key alone."""
    files: dict[ShardId, str] = {}
    for dataset in datasets:
        content = samples(dataset, 0, 12)
        write_shard(str(folder / dataset / "000000.tar"), content)
        files.update([write_labels(folder, dataset, "000000", label_table(ids_of(dataset, "000000", content)))])
    return index_labels(files, list_shards(f"{folder}/*/000000.tar"), share, folds=folds)


FILMS, FRAMES = 10, 4


def film_of(key: str) -> str:
    """film3/0002 is of film3, clip3x2 of clip3, whatever the data set."""
    return key.partition("/")[0] if "/" in key else key.partition("x")[0]


def index_of_films(folder: Path, *, share: float = 0.0, folds: int = 1, fold: int = 0) -> LabelIndex:
    """Films whose keys end in the frame, cut between two shards and copied to a second data set with one more person in
    view, and clips whose frames only their tracks connect. Groups are those that the reader finds.
    """

    def filmed(track: str, frame: int, seed: int) -> dict[str, object]:
        return person(seed, extra_info={"track_id": track, "frame": frame})

    films = [
        RawSample(
            key=f"film{film}/{frame:04d}",
            jpeg=photo_bytes(100 * film + frame),
            people=[filmed(f"who{film}", frame, film)],
        )
        for film in range(FILMS)
        for frame in range(FRAMES)
    ]
    clips = [
        RawSample(
            key=f"clip{clip}x{7 * frame + 3}",
            jpeg=photo_bytes(5000 + 100 * clip + frame),
            people=[filmed(f"c{clip}", frame, clip)],
        )
        for clip in range(FILMS)
        for frame in range(FRAMES)
    ]
    copies = [replace(film, people=[*film.people, person(7)]) for film in films]
    contents = {("a", "000000"): films[::2], ("a", "000001"): films[1::2] + clips, ("b", "000000"): copies}
    files: dict[ShardId, str] = {}
    for (dataset, shard), content in contents.items():
        path = folder / dataset / f"{shard}.tar"
        write_shard(str(path), content)
        groups = [who.photo_group or 0 for photo in read(path)[0] for who in photo.people]
        table = label_table(ids_of(dataset, shard, content), groups=groups)
        files.update([write_labels(folder, dataset, shard, table)])
    return index_labels(files, list_shards(f"{folder}/*/*.tar"), share, folds=folds, fold=fold)


def films_of(ids: set[PersonId]) -> set[str]:
    return {film_of(id.key) for id in ids}


def test_frames_of_a_film_are_held_out_together(tmp_path: Path) -> None:
    """In all of its shards and data sets, whoever is in the frame."""
    index = index_of_films(tmp_path, share=0.4)
    trained, validated = trained_on(index), validated_on(index)
    assert len(trained) + len(validated) == index.rows == 4 * FILMS * FRAMES
    assert films_of(trained) | films_of(validated) == {f"{kind}{i}" for kind in ("film", "clip") for i in range(FILMS)}
    assert not films_of(trained) & films_of(validated)
    for kind in ("film", "clip"):
        assert any(film.startswith(kind) for film in films_of(validated))
        assert any(film.startswith(kind) for film in films_of(trained))
    assert {id.dataset for id in validated} == {"a", "b"}


@pytest.mark.parametrize("folds", [2, 3])
def test_frames_of_a_film_are_in_one_fold(folds: int, tmp_path: Path) -> None:
    indices = [index_of_films(tmp_path / str(i), share=0.1, folds=folds, fold=i) for i in range(folds)]
    everybody = set.union(*(trained_on(index) for index in indices))
    own = [everybody - trained_on(index) for index in indices]
    assert sum(len(films_of(part)) for part in own) == len(films_of(everybody)), "each film is in exactly one fold"
    for index, part in zip(indices, own, strict=True):
        assert part
        assert not films_of(part) & films_of(trained_on(index))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_held_out_share(share: float) -> None:
    assert is_held_out(RANDOM, share).mean() == pytest.approx(share, abs=0.01)
    smaller = is_held_out(RANDOM, share / 2)
    assert not (smaller & ~is_held_out(RANDOM, share)).any(), "a larger share adds photos and drops none"


@pytest.mark.parametrize("folds", [1, 2, 3, 5])
def test_folds_are_as_large_as_each_other_and_independent_of_what_is_held_out(folds: int) -> None:
    fold = fold_of(RANDOM, folds)
    sizes = np.bincount(fold, minlength=folds) / len(RANDOM)
    np.testing.assert_allclose(sizes, 1 / folds, atol=0.015)
    of_held_out = np.bincount(fold[is_held_out(RANDOM, 0.2)], minlength=folds)
    np.testing.assert_allclose(of_held_out / of_held_out.sum(), 1 / folds, atol=0.03)


def test_the_split_never_changes() -> None:
    groups = np.array([-(2**63), -1, 1, 2**62, 1234567890123456789])
    assert is_held_out(groups, 0.5).tolist() == [False, False, True, True, True]
    assert fold_of(groups, 3).tolist() == [0, 0, 1, 0, 2]


def test_the_same_photo_in_two_data_sets_is_held_out_in_both(tmp_path: Path) -> None:
    """By data set and key alone the copies of held-out photos are trained on."""
    leaky = index_without_groups(tmp_path / "older", datasets=("coco", "coco_vit"), share=0.3)
    assert photos_of(trained_on(leaky)) & photos_of(validated_on(leaky))
    index = make_generation(tmp_path, datasets=("coco", "coco_vit"), photos=20, held_out_share=0.3)
    trained, validated = trained_on(index), validated_on(index)
    assert len(trained) + len(validated) == index.rows
    assert len(photos_of(validated)) > 10
    assert not photos_of(trained) & photos_of(validated)
    assert {id.dataset for id in validated} == {"coco", "coco_vit"}


@pytest.mark.parametrize("folds", [2, 3])
def test_a_fold_s_network_never_meets_its_people_nor_the_held_out(folds: int, tmp_path: Path) -> None:

    def index_of(folds: int, fold: int = 0) -> LabelIndex:
        folder = tmp_path / f"{fold} of {folds}"
        return make_generation(folder, datasets=("a", "b"), shards=2, held_out_share=0.2, folds=folds, fold=fold)

    indices, whole = [index_of(folds, fold) for fold in range(folds)], index_of(1)
    everybody, held_out = trained_on(whole), validated_on(whole)
    own = [everybody - trained_on(index) for index in indices]
    for index, unseen in zip(indices, own, strict=True):
        assert unseen
        assert not photos_of(unseen) & photos_of(trained_on(index)), "not under another name either"
        assert validated_on(index) == held_out
        assert index.left_out[OWN_FOLD] == len(unseen)
        assert index.rows == whole.rows
    assert set.union(*own) == everybody
    assert sum(map(len, own)) == len(everybody), "everybody is in exactly one fold"


def test_one_fold_leaves_nobody_out(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=1)
    assert len(index.training) == index.rows
    assert OWN_FOLD not in index.left_out


def test_a_generation_without_groups_is_split_by_name_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        index = index_without_groups(tmp_path, share=0.3)
    assert "24 label rows do not name the group" in caplog.text
    assert {id.key for id in validated_on(index)} == {f"made/{i:03d}" for i in (1, 2, 4, 8, 11)}
    with pytest.raises(NoPhotoGroupsError, match="older version"):
        index_without_groups(tmp_path, folds=2)
