"""What cannot be trained on is counted, by reason, and leaves a blank place: broken shards, strangers, the held out."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.labels import LabelStore
from pipeline.shards import RawSample, list_shards, write_shard
from pipeline.shards.pseudo_labels import PseudoLabelConfig
from schemas.keypoints import N_KEYPOINTS
from schemas.labels import Decision
from schemas.person import PersonId, RejectionReason
from tests.pipeline.labels.label_tables import CONFIG_DIGEST, lineage
from tests.pipeline.shards.samples import person, photo_bytes
from tests.pipeline.shards.test_broken_shards import GOOD
from tests.services.s3_server import S3Server
from tests.trainer.data.made_generation import (
    assert_same,
    ids_of,
    label_table,
    make_generation,
    of_skel,
    samples,
    write_labels,
)
from trainer.data import (
    AugmentConfig,
    JoinCounts,
    LabelIndex,
    NobodyToTrainOnError,
    TooManyLostError,
    TrainBatch,
    TrainDataConfig,
    index_generation,
    open_epoch,
    open_validation,
)
from trainer.data.label_index import index_labels

R = RejectionReason
FORGIVING = TrainDataConfig(global_batch=2, lanes=2, max_lost_share=1.0, held_out_share=0.0)
# The middle sample's people as the good shards would have them, and why they are lost.
BROKEN: dict[str, dict[str, int]] = {
    "truncated": {R.SHARD_TRUNCATED: 1},
    "bad_jpeg": {R.UNDECODABLE_PHOTO: 1},
    "nan_keypoints": {},
    "wrong_shape": {R.WRONG_SHAPE: 1},
    "missing_pyd": {R.MISSING_LABELS: 1},
    "hostile_pickle": {R.FORBIDDEN_PICKLE: 1},
    "empty": {R.SHARD_EMPTY: 3},
    "empty_people": {"not_in_shard": 1},
    "duplicate_keys": {"not_in_shard": 1},
    "huge_bbox": {R.BAD_BOX: 1},
    "not_a_tar": {R.SHARD_UNREADABLE: 3},
}


def one_shard(
    folder: Path, tar: Path, ids: Sequence[PersonId], decisions: Sequence[Decision] | None = None
) -> LabelIndex:
    (info,) = list_shards(str(tar))
    ids = [id._replace(dataset=info.dataset, shard=info.shard) for id in ids]
    file = write_labels(folder, info.dataset, info.shard, label_table(ids, decisions=decisions))
    return index_labels(dict([file]), [info], 0.0)


def assert_blank(batch: TrainBatch, row: int) -> None:
    for name in ("patches", "keypoints_2d", "keypoints_3d", "q", "betas", "has_label", "joint_weight", "betas_weight"):
        assert not getattr(batch, name)[row].any(), name


@pytest.mark.parametrize("name", BROKEN)
def test_broken_shards(name: str, shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label row for each person of the sound originals: all of them come, or are lost for the stated reason."""
    monkeypatch.chdir(tmp_path)
    tar = shared_dir / "data" / "broken" / f"{name}.tar"
    index = one_shard(tmp_path, tar, [PersonId("", "", key, 0) for key in GOOD])
    stream = open_epoch(FORGIVING, index, 0)
    batches = of_skel(stream)
    assert [len(batch) for batch in batches] == [2, 2]
    assert stream.counts.lost == {str(reason): count for reason, count in BROKEN[name].items()}
    assert stream.rows.drawn == 3 == stream.counts.used + stream.counts.n_lost
    for batch in batches:
        for tensor in (batch.keypoints_2d, batch.keypoints_3d, batch.q):
            assert torch.isfinite(tensor).all()
    assert not (tmp_path / "PWNED").exists()


def test_a_lost_person_leaves_a_blank_place_and_others_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A JPEG that is damaged in its middle, which shows only when it is decoded."""
    sound = samples("made", 0, 3)
    jpeg = sound[1].jpeg
    damaged = replace(sound[1], jpeg=jpeg[:-300])
    for name, second in (("sound", sound[1]), ("made", damaged)):
        write_shard(str(tmp_path / name / "000000.tar"), [sound[0], second, sound[2]])
    ids = ids_of("made", "000000", sound)
    config = replace(FORGIVING, augment=AugmentConfig(enabled=False))
    with caplog.at_level(logging.WARNING):
        stream = open_epoch(config, one_shard(tmp_path, tmp_path / "made" / "000000.tar", ids), 0)
        batches = of_skel(stream)
    unharmed = of_skel(open_epoch(config, one_shard(tmp_path, tmp_path / "sound" / "000000.tar", ids), 0))
    assert (stream.counts.used, stream.counts.lost) == (4, {"undecodable_photo": 2})
    for batch, whole in zip(batches, unharmed, strict=True):
        for row, id in enumerate(batch.ids):
            if id.key == sound[1].key:
                assert_blank(batch, row)
            else:
                assert torch.equal(batch.patches[row], whole.patches[row])
                assert torch.equal(batch.q[row], whole.q[row])
    assert "people lost: undecodable_photo" in caplog.text
    assert "damaged JPEG" in caplog.text


def test_too_many_lost_people_end_the_epoch(shared_dir: Path, tmp_path: Path) -> None:
    index = one_shard(tmp_path, shared_dir / "data" / "broken" / "not_a_tar.tar", [PersonId("", "", "a", 0)])
    config = TrainDataConfig(global_batch=2, lanes=2, max_lost_share=0.5)
    with pytest.raises(TooManyLostError, match=r"shard_unreadable.*max_lost_share"):
        list(open_epoch(config, index, 0))


def test_a_shard_that_is_gone(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=2, photos=6)
    Path(index.shards[1].source.url).unlink()
    stream = open_epoch(FORGIVING, index, 0)
    list(stream)
    assert (stream.counts.used, stream.counts.lost) == (12, {"shard_unreadable": 12})


def test_people_without_a_row_and_rows_without_a_person(tmp_path: Path) -> None:
    content = samples("made", 0, 6)  # 12 people
    tar = tmp_path / "made" / "000000.tar"
    write_shard(str(tar), content)
    ids = ids_of("made", "000000", content)
    ghost = PersonId("made", "000000", "made/ghost", 0)
    index = one_shard(tmp_path, tar, [*ids[:9], ghost])
    stream = open_epoch(FORGIVING, index, 0)
    assert {id for batch in stream for id in batch.ids} == {*ids[:9], ghost}
    assert stream.counts == JoinCounts(used=9, lost={"not_in_shard": 1}, without_row=3)


def test_labels_are_optional_but_not_with_too_few_keypoints(tmp_path: Path) -> None:
    few = np.zeros((N_KEYPOINTS, 3), np.float32)
    few[:4] = [[10, 10, 1], [20, 10, 1], [10, 30, 1], [40, 40, 1]]
    people = [person(0), person(1), person(2, keypoints_2d=few), person(3, keypoints_2d=few)]
    tar = tmp_path / "made" / "000000.tar"
    write_shard(str(tar), [RawSample(key="a", jpeg=photo_bytes(), people=people)])
    decisions = [Decision.IMPROVED, Decision.NO_LABEL, Decision.IMPROVED, Decision.NO_LABEL]
    index = one_shard(tmp_path, tar, [PersonId("", "", "a", i) for i in range(4)], decisions)
    stream = open_epoch(FORGIVING, index, 0)
    found = {id.person: (batch, row) for batch in of_skel(stream) for row, id in enumerate(batch.ids)}
    assert stream.counts == JoinCounts(used=3, lost={"too_few_keypoints": 1})
    for number, (batch, row) in found.items():
        labelled = decisions[number] is Decision.IMPROVED
        assert bool(batch.has_label[row]) == labelled
        assert bool(batch.q[row].any()) == labelled
        assert bool(batch.joint_weight[row].any()) == labelled
        assert bool(batch.patches[row].any()) == (number != 3)
    assert_blank(*found[3])


def test_more_keypoints_can_be_asked_of_everybody(tmp_path: Path) -> None:
    """Those who are left out on purpose are no damage to the data set; labels with an odd shape count for nothing."""
    few = np.zeros((N_KEYPOINTS, 3), np.float32)
    few[:4] = [[10, 10, 1], [20, 10, 1], [10, 30, 1], [40, 40, 1]]
    people = [person(0), *(person(i, keypoints_2d=few) for i in range(1, 4))]
    tar = tmp_path / "made" / "000000.tar"
    write_shard(str(tar), [RawSample(key="a", jpeg=photo_bytes(), people=people)])
    index = one_shard(tmp_path, tar, [PersonId("", "", "a", i) for i in range(4)])
    config = TrainDataConfig(global_batch=4, lanes=2, max_lost_share=0.0, fewest_keypoints=5)
    stream = open_epoch(config, index, 0)
    (batch,) = stream
    assert stream.counts == JoinCounts(used=1, lost={"fewer_keypoints_than_asked": 3})
    assert sorted(batch.has_label.tolist()) == [False, False, False, True]
    odd = replace(config, fewest_keypoints=0, pseudo_labels=PseudoLabelConfig(max_betas=0.1), max_lost_share=1.0)
    (batch,) = open_epoch(odd, index, 0)
    assert not batch.has_label.any()
    assert not batch.betas.any()


def test_rows_of_unreadable_people_and_of_shards_not_given_are_left_out(tmp_path: Path) -> None:
    content = samples("made", 0, 3)
    tar = tmp_path / "made" / "000000.tar"
    write_shard(str(tar), content)
    ids = ids_of("made", "000000", content)
    decisions = [Decision.IMPROVED] * 5 + [Decision.KEPT_UNREADABLE]
    files = dict(
        [
            write_labels(tmp_path, "made", "000000", label_table(ids, decisions=decisions)),
            write_labels(tmp_path, "made", "000001", label_table([PersonId("made", "000001", "x", 0)])),
        ]
    )
    index = index_labels(files, list_shards(str(tar)), 0.0)
    assert index.left_out == {"kept_unreadable": 1, "shard_not_given": 1}
    assert (index.rows, len(index.training)) == (7, 5)


def test_nobody_to_train_on(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=1, photos=3, held_out_share=1.0)
    with pytest.raises(NobodyToTrainOnError, match="held_out_share"):
        open_epoch(FORGIVING, index, 0)
    index = make_generation(tmp_path / "more", shards=1, photos=3)
    with pytest.raises(NobodyToTrainOnError, match="mix names nosuch"):
        open_epoch(TrainDataConfig(global_batch=2, lanes=2, mix="nosuch=1"), index, 0)


def test_held_out_photos_are_never_trained_on_and_not_augmented(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=3, photos=20, held_out_share=0.3)
    trained = {id for epoch in range(2) for batch in open_epoch(FORGIVING, index, epoch) for id in batch.ids}
    stream = open_validation(FORGIVING, index, batch_size=7)
    batches = list(stream)
    held_out = [id for batch in batches for id in batch.ids]
    assert len(held_out) == len(set(held_out)) == len(index.held_out) > 10
    assert len(trained) + len(held_out) == index.rows == 120 - 3
    assert not {id[:3] for id in trained} & {id[:3] for id in held_out}  # all people of a photo are on one side
    assert {len(batch) for batch in batches[:-1]} == {7}
    assert all((batch.color_scale == 1).all() for batch in batches)
    by_rank = [open_validation(FORGIVING, index, batch_size=7, rank=r, world=2) for r in range(2)]
    assert Counter(id for rank in by_rank for batch in rank for id in batch.ids) == Counter(held_out)
    again = list(open_validation(FORGIVING, index, batch_size=7))
    for a, b in zip(again, batches, strict=True):
        assert_same(a, b)


def test_lost_held_out_people_are_counted_too(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=2, photos=6, held_out_share=1.0)
    Path(index.shards[1].source.url).unlink()
    for batch_size in (12, 5):  # 12: nobody is left for a batch after the missing shard
        stream = open_validation(FORGIVING, index, batch_size=batch_size)
        assert sum(map(len, stream)) == 12
        assert stream.counts == JoinCounts(used=12, lost={"shard_unreadable": 12})


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_published_generation(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """From shards and labels in storage, found through the store and its lineage."""
    root = str(tmp_path)
    if where == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        root = server.url("training")
    infos, store = [], LabelStore(f"{root}/labels", None if where == "local" else f"sqlite:///{tmp_path}/catalog.db")
    staging, staged = store.staging(0, "run", CONFIG_DIGEST), []
    for number in range(2):
        content = samples("made", number, 6)
        write_shard(f"{root}/made/{number:06d}.tar", content)
        infos += list_shards(f"{root}/made/{number:06d}.tar")
        table = label_table(ids_of("made", f"{number:06d}", content), seed=number, round=0)
        staged.append(staging.write("made", f"{number:06d}", table, readable=table.num_rows))
    inputs = tuple(infos)
    store.publish(replace(lineage(0, "run"), inputs=inputs), staged)
    index = index_generation(store, 0, FORGIVING)
    stream = open_epoch(FORGIVING, index, 0)
    assert len({id for batch in stream for id in batch.ids}) == 24
    assert stream.counts == JoinCounts(used=24)
