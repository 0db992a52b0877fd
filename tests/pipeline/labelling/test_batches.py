"""People and labels as arrays, and their way through the label table."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from pipeline.labelling.batches import SCALARS, VECTORS, LabelBatch, PersonBatch
from schemas.camera import CameraSource
from schemas.gender import GENDERS
from schemas.labels import LABEL_SCHEMA, Decision, StartSource
from schemas.person import Person, PersonId, SmplLabel


def person(index: int, *, with_smpl: bool = True) -> Person:
    rng = np.random.default_rng(index)
    return Person(
        id=PersonId("set", "000000", f"photo/{index}", index),
        keypoints_2d=np.concatenate([rng.uniform(100, 300, (44, 2)), rng.uniform(0, 1, (44, 1))], 1).astype(np.float32),
        keypoints_3d=rng.normal(size=(44, 4)).astype(np.float32),
        center=np.array([200, 210], np.float32),
        side=250.0,
        smpl=SmplLabel(pose=rng.normal(size=(24, 3)).astype(np.float32), betas=np.ones(10, np.float32))
        if with_smpl
        else None,
    )


def labels(ids: list[PersonId], seed: int = 0) -> LabelBatch:
    """Labels with every kind of hole: people without a label, unknown scalars, unknown iterations."""
    rng, count = np.random.default_rng(seed), len(ids)
    has_label = rng.random(count) < 0.7
    scalars: dict[str, Any] = {name: np.where(rng.random(count) < 0.3, np.nan, rng.random(count)) for name in SCALARS}
    vectors: dict[str, Any] = {
        name: (rng.normal(size=(count, width)) * has_label[:, None]).astype(np.float32)
        for name, width in VECTORS.items()
    }
    return LabelBatch(
        ids=tuple(ids),
        has_label=has_label,
        decision=rng.choice([str(d) for d in Decision], count).astype(object),
        start_source=rng.choice([str(s) for s in StartSource], count).astype(object),
        iterations=np.where(rng.random(count) < 0.3, -1, rng.integers(0, 50, count)).astype(np.int32),
        camera_source=np.array([None, *map(str, CameraSource)], object)[rng.integers(0, 6, count)],
        photo_group=np.where(rng.random(count) < 0.3, 0, rng.integers(-(2**63), 2**63, count)),
        gender=np.array([None, *GENDERS], object)[rng.integers(0, 3, count)],
        **scalars,
        **vectors,
    )


def assert_equal(got: LabelBatch, expected: LabelBatch) -> None:
    assert got.ids == expected.ids
    others = ("has_label", "decision", "start_source", "iterations", "camera_source", "photo_group", "gender")
    for name in (*others, *SCALARS, *VECTORS):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
        assert getattr(got, name).dtype == getattr(expected, name).dtype, name


def test_people_are_stacked_in_crop_units() -> None:
    people = [person(0), person(1, with_smpl=False)]
    batch = PersonBatch.from_people(people)
    assert len(batch) == 2
    expected = (people[0].keypoints_2d[:, :2] - [200, 210]) / 250
    np.testing.assert_allclose(batch.keypoints[0, :, :2], expected, atol=1e-6)
    np.testing.assert_array_equal(batch.keypoints[..., 2], [p.keypoints_2d[:, 2] for p in people])
    assert batch.has_smpl.tolist() == [True, False]
    assert not batch.smpl_pose[1].any()
    assert people[0].smpl is not None
    np.testing.assert_array_equal(batch.smpl_pose[0], people[0].smpl.pose)


def test_nobody() -> None:
    batch = PersonBatch.from_people([])
    assert (batch.keypoints.shape, batch.keypoints_3d.shape, batch.has_smpl.dtype) == ((0, 44, 3), (0, 44, 4), bool)
    table = labels([]).to_table(0)
    assert table.schema == LABEL_SCHEMA
    assert table.num_rows == 0
    assert_equal(LabelBatch.from_table(table, []), labels([]))


@given(st.integers(0, 12), st.integers(0, 2**31))
@settings(max_examples=40)
def test_table_round_trip(count: int, seed: int) -> None:
    ids = [PersonId("set", f"{i % 3:06}", "photo/a", i) for i in range(count)]
    batch = labels(ids, seed)
    table = batch.to_table(3)
    table.validate(full=True)
    assert table.schema == LABEL_SCHEMA
    assert table["round"].to_pylist() == [3] * count
    assert_equal(LabelBatch.from_table(table, ids), batch)


def test_unknown_is_null_and_vectors_never_are() -> None:
    ids = [PersonId("set", "000000", "a", i) for i in range(40)]
    batch = labels(ids)
    table = batch.to_table(0)
    for name in SCALARS:
        assert table[name].null_count == np.isnan(getattr(batch, name)).sum() > 0
    assert table["iterations"].null_count == (batch.iterations < 0).sum() > 0
    assert table["photo_group"].null_count == (batch.photo_group == 0).sum() > 0
    for name in VECTORS:
        assert table[name].null_count == 0
        without = np.array(table[name].to_pylist())[~batch.has_label]
        assert not without.any()


def test_rows_are_found_by_identity_whatever_their_order() -> None:
    ids = [PersonId("set", "000000", f"p{i}", i % 2) for i in range(9)]
    batch = labels(ids)
    table = batch.to_table(0).take(pa.array([5, 1, 8, 0, 2, 7, 3, 6, 4]))
    pieces = pa.concat_tables([table.slice(0, 4), table.slice(4)])
    assert pieces["q"].num_chunks == 2
    assert_equal(LabelBatch.from_table(pieces, ids), batch)
    reverse = LabelBatch.from_table(pieces, ids[::-1])
    np.testing.assert_array_equal(reverse.q, batch.q[::-1])


def test_people_the_parent_does_not_know_have_no_label() -> None:
    ids = [PersonId("set", "000000", "p", i) for i in range(4)]
    stranger = PersonId("set", "000001", "p", 0)
    found = LabelBatch.from_table(labels(ids).to_table(0), [stranger, *ids])
    assert not found.has_label[0]
    assert not found.q[0].any()
    assert np.isnan(found.kp2d_error[0])
    assert found.iterations[0] == -1
    assert found.start_source[0] == StartSource.NONE
    np.testing.assert_array_equal(found.q[1:], labels(ids).q)


def test_a_label_that_is_not_finite_is_stored_as_it_is_only_with_a_label() -> None:
    """Vectors of people without a label are zero in the table, whatever the batch held."""
    ids = [PersonId("set", "000000", "p", 0)]
    batch = labels(ids)
    holed = LabelBatch(
        **{name: getattr(batch, name) for name in batch.__slots__ if name not in ("has_label", "q")},
        has_label=np.array([False]),
        q=np.full((1, 46), np.nan, np.float32),
    )
    assert not np.array(holed.to_table(0)["q"].to_pylist()).any()


def test_columns_that_are_not_given_are_unknown() -> None:
    ids = [PersonId("set", "000000", "p", i) for i in range(3)]
    batch = LabelBatch.of(ids, has_label=[True, False, True], q=np.ones((3, 46)), iterations=[1.0, 2.0, 3.0])
    assert [getattr(batch, name).dtype for name in ("has_label", "q", "iterations")] == [bool, np.float32, np.int32]
    assert (batch.q == 1).all()
    assert batch.iterations.tolist() == [1, 2, 3]
    assert not any(getattr(batch, name).any() for name in VECTORS if name != "q")
    assert all(np.isnan(getattr(batch, name)).all() for name in SCALARS)
    assert set(batch.decision) == {Decision.NO_LABEL}
    assert set(batch.start_source) == {StartSource.NONE}
    assert LabelBatch.of(ids).iterations.tolist() == [-1] * 3
    with pytest.raises(AttributeError, match="p_v_e"):
        LabelBatch.of(ids, p_v_e=np.zeros(3))


def test_strings_of_fixed_width_are_refused() -> None:
    """Numpy would cut a longer decision off where it is put among shorter ones."""
    batch = LabelBatch.of([PersonId("set", "000000", "p", 0)])
    with pytest.raises(TypeCheckError, match="decision"):
        replace(batch, decision=np.array(["no_label"]))


def test_every_column_of_the_table_is_a_column_of_the_batch() -> None:
    """A column that is added to LABEL_SCHEMA and forgotten here would be lost on the way."""
    of_identity = {"round", "dataset", "shard", "key", "person"}
    assert set(LABEL_SCHEMA.names) - of_identity == {field.name for field in fields(LabelBatch)} - {"ids"}


@given(st.integers(0, 8), st.integers(0, 2**31))
@settings(max_examples=30)
def test_labels_put_into_a_batch_are_those_and_no_others_change(count: int, seed: int) -> None:
    ids = [PersonId("set", "000000", "p", i) for i in range(count)]
    old, new = labels(ids, seed), labels(ids, seed + 1)
    taken = np.random.default_rng(seed).random(count) < 0.5
    rows = np.flatnonzero(taken)
    merged = old.put(rows, new.take(rows))
    assert_equal(merged.take(rows), new.take(rows))
    assert_equal(merged.take(np.flatnonzero(~taken)), old.take(np.flatnonzero(~taken)))
    assert_equal(old, labels(ids, seed))


@pytest.mark.parametrize("missing", ["anchor_q", "decision"])
def test_a_table_without_a_column_is_refused(missing: str) -> None:
    ids = [PersonId("set", "000000", "p", 0)]
    with pytest.raises(KeyError, match=missing):
        LabelBatch.from_table(labels(ids).to_table(0).drop_columns([missing]), ids)
