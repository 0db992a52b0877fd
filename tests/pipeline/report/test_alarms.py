"""What sets off a drift alarm, and what does not."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.report.alarms import Alarm, alarms
from pipeline.report.figures import label_figures, matched
from pipeline.report.measuring import Measured
from pipeline.report.people import ShownPeople
from schemas.labels import LABEL_SCHEMA
from schemas.skel import Q_NAMES
from tests.pipeline.labels.label_tables import label_table, replace_column
from tests.pipeline.report.test_figures import in_the_middle, with_vectors

ROWS = 200


def measured(before: pa.Table, after: pa.Table) -> Measured:
    return Measured(
        {"photos": label_figures(after)},
        {"photos": label_figures(before)},
        {"photos": matched(after, before).changes},
        ShownPeople(),
        {"photos": Counter()},
        {"photos": Counter()},
    )


def calm() -> pa.Table:
    table = with_vectors(label_table("photos", "0", rows=ROWS), "q", in_the_middle(ROWS))
    return with_vectors(table, "betas", np.zeros((ROWS, LABEL_SCHEMA.field("betas").type.list_size)))


def found(before: pa.Table, after: pa.Table) -> list[tuple[str, str]]:
    return [(alarm.what, alarm.where) for alarm in alarms(measured(before, after))]


def moved(table: pa.Table, joint: int, degrees: np.ndarray) -> pa.Table:
    q = in_the_middle(ROWS)
    q[:, joint] += np.radians(degrees)
    return with_vectors(table, "q", q)


def test_the_same_labels_are_no_alarm() -> None:
    assert found(calm(), calm()) == []


def test_a_joint_whose_mean_moved() -> None:
    after = moved(calm(), 6, np.full(ROWS, 2.5))
    assert found(calm(), after) == [("mean of a joint moved", Q_NAMES[6])]
    assert found(calm(), moved(calm(), 6, np.full(ROWS, 1.5))) == []


def test_joints_that_move_to_and_fro_are_no_alarm() -> None:
    noise = np.random.default_rng(0).normal(0, 12, ROWS)
    assert found(calm(), moved(calm(), 6, noise - noise.mean() + 2.5)) == []  # within 4 standard errors


def test_a_pelvis_may_turn() -> None:
    assert found(calm(), moved(calm(), 0, np.full(ROWS, 30.0))) == []


def test_labels_beyond_a_limit() -> None:
    degrees = np.zeros(ROWS)
    degrees[0] = 100.0
    assert found(calm(), moved(calm(), 6, degrees)) == [("more labels beyond a limit", Q_NAMES[6])]


def test_a_shape_that_moved() -> None:
    betas = np.zeros((ROWS, 10))
    betas[:, 3] = 0.3
    assert found(calm(), with_vectors(calm(), "betas", betas)) == [("mean shape moved", "beta 3")]


def test_an_error_that_rose() -> None:
    error = calm()["kp2d_error"].to_numpy()
    assert found(calm(), replace_column(calm(), "kp2d_error", 1.3 * error)) == [("2D error rose", "photos")]
    assert found(calm(), replace_column(calm(), "kp2d_error", 0.5 * error)) == []


def test_people_who_lose_their_label() -> None:
    labelled = calm()["has_label"].to_numpy().copy()
    labelled[:20] = False
    assert ("more people without a label", "photos") in found(calm(), replace_column(calm(), "has_label", labelled))


def test_a_data_set_whose_rejections_doubled() -> None:
    same = measured(calm(), calm())

    def of(now: dict[str, int], before: dict[str, int] | None) -> list[Alarm]:
        refused = None if before is None else {"photos": Counter(before)}
        return alarms(replace(same, refused={"photos": Counter(now)}, refused_before=refused))

    assert [alarm.what for alarm in of({"bad_box": 20}, {"bad_box": 10})] == ["rejections doubled"]
    assert of({"bad_box": 19}, {"bad_box": 10}) == []
    assert of({"bad_box": 4}, {"bad_box": 1}) == []  # too few to say
    assert of({"bad_camera": 40}, {}) == []  # repairs leave the person in
    assert of({"bad_box": 20}, None) == []


def test_a_data_set_that_is_gone() -> None:
    gone = replace(measured(calm(), calm()), after={"video": label_figures(label_table("video", "0", rows=ROWS))})
    assert ("data set is gone", "photos") in [(alarm.what, alarm.where) for alarm in alarms(gone)]


def test_nothing_to_compare_with_is_no_alarm() -> None:
    assert alarms(replace(measured(calm(), calm()), before={}, changes={})) == []
