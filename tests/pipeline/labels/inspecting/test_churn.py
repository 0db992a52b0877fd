"""Who moved from one generation to the next, and who came back: counted by hand, by angle, and over a store."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body.representation import orientation_to_matrix
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.labels import LabelStore
from pipeline.labels.inspecting.churn import ANGLES, NO_CHURN, angle_change_deg, churn, churn_table, shard_churn
from schemas.skel import Q_NAMES
from tests.pipeline.labels.label_tables import label_table, publish_rounds, replace_column

KNEE, ELBOW = Q_NAMES.index("knee_angle_r"), Q_NAMES.index("elbow_flexion_l")


def table(*moves: tuple[int, int, float], rows: int = 10) -> pa.Table:
    """Everybody in one pose, but for (person, angle, degrees); the last of ten has no label."""
    q = np.zeros((rows, 46))
    for person, angle, degrees in moves:
        q[person, angle] = np.radians(degrees)
    return replace_column(label_table("photos", "000000", rows=rows), "q", q.tolist())


def test_shares_are_of_who_is_labelled_in_both() -> None:
    before = table()
    after = table((0, KNEE, 3), (1, KNEE, -7), (2, KNEE, 12), (2, ELBOW, 6), (9, KNEE, 90))
    found = shard_churn(after, before)
    assert (found.people, found.people_thrice) == (9, 0)
    moved = dict(zip(ANGLES, found.moved.tolist(), strict=True))
    assert moved["any"] == [3, 2, 1]
    assert moved["knee_angle_r"] == [3, 2, 1]
    assert moved["elbow_flexion_l"] == [1, 1, 0]
    assert moved["pelvis"] == [0, 0, 0]
    assert dict(zip(ANGLES, found.total_deg, strict=True))["knee_angle_r"] == pytest.approx(22)


def test_who_leaves_and_comes_back_flips() -> None:
    earlier = table((3, KNEE, 40))
    before = table((0, KNEE, 8), (1, KNEE, 8), (2, KNEE, 4), (3, KNEE, 48), (4, ELBOW, 20))
    after = table((0, KNEE, 1), (1, KNEE, 3), (2, KNEE, 0), (3, KNEE, 41.5), (4, ELBOW, 20))
    found = shard_churn(after, before, earlier)
    assert found.people_thrice == 9
    returned = dict(zip(ANGLES, found.returned.tolist(), strict=True))
    assert returned["any"] == returned["knee_angle_r"] == 2, "persons 0 and 3; 1 is 3 degrees off, 2 never left"
    assert returned["elbow_flexion_l"] == 0


@given(order=st.permutations(range(10)), seed=st.integers(0, 100))
def test_the_order_of_rows_does_not_matter(order: list[int], seed: int) -> None:
    before, after, earlier = (label_table("photos", "000000", round=k, rows=10, seed=seed) for k in (1, 2, 0))
    expected = shard_churn(after, before, earlier)
    found = shard_churn(after, before.take(order), earlier.take(order[::-1]))
    assert found.people == expected.people == 9
    np.testing.assert_array_equal(found.moved, expected.moved)
    np.testing.assert_array_equal(found.returned, expected.returned)


def test_people_whom_a_generation_lacks_are_not_counted() -> None:
    before, after = table(), table((0, KNEE, 30), (5, KNEE, 30))
    found = shard_churn(after, before.slice(2))
    assert (found.people, found.moved[0, 2]) == (7, 1)
    assert shard_churn(after, before.slice(0, 0)).people == 0
    assert shard_churn(after, before, before.slice(5)).people_thrice == 4


@given(seed=st.integers(0, 10_000))
def test_the_pelvis_moves_by_the_rotation_between(seed: int) -> None:
    """Whatever the three angles say: beyond the gimbal two triples name one orientation."""
    q = np.random.default_rng(seed).uniform(-1.2, 1.2, (2, 4, 46))
    change = angle_change_deg(q[0], q[1])[:, 0]
    turn = [orientation_to_matrix(torch.as_tensor(x[:, :3])) for x in q]
    between = matrix_to_axis_angle(turn[0].mT @ turn[1]).norm(dim=1)
    np.testing.assert_allclose(change, np.degrees(between.numpy()), atol=1e-5)
    whole_turn = q[0].copy()
    whole_turn[:, :3] += 2 * np.pi
    np.testing.assert_allclose(angle_change_deg(q[0], whole_turn)[:, 0], 0, atol=1e-4)


def test_a_store_is_counted_shard_by_shard(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 3)
    found = churn(store, 1, 2)
    parts = [[label_table(d, s, round=k) for k in (2, 1, 0)] for d, s in store.files(2)]
    total = NO_CHURN
    for part in parts:
        total += shard_churn(*part)
    assert (found.people, found.people_thrice) == (total.people, total.people_thrice) == (54, 54)
    np.testing.assert_array_equal(found.moved, total.moved)
    np.testing.assert_array_equal(found.returned, total.returned)
    assert churn(store, 0, 2).people_thrice == 0
    same = churn(store, 2, 2)
    assert not same.moved.any()


def test_the_table_has_what_moved_most_first() -> None:
    shown = churn_table(shard_churn(table((0, ELBOW, 3), (1, KNEE, 12)), table(), table()), 1, 2)
    assert shown.columns == ("angle", "mean_deg", "moved_1_deg", "moved_5_deg", "moved_10_deg", "flip_flop")
    assert [row[0] for row in shown.rows[:3]] == ["any", "knee_angle_r", "elbow_flexion_l"]
    assert shown.rows[0][2:] == pytest.approx((2 / 9, 1 / 9, 1 / 9, 0))
    assert shown.title == "churn from round 1 to 2: 9 people, 9 over three rounds"
    assert churn_table(NO_CHURN, 0, 1).rows[0] == ("any", None, None, None, None, None)
