"""Label error to truth: zero for the truth, what was put in otherwise, compared over common people only."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.spatial.transform import Rotation

from pipeline.body import Skel
from pipeline.body.representation import matrix_to_orientation, orientation_to_matrix
from pipeline.demo_set import DemoSet, label_errors, mean_label_errors
from schemas.labels import IDENTITY_COLUMNS
from schemas.skel import Q_NAMES, q_limits

KNEE = Q_NAMES.index("knee_angle_r")


@pytest.fixture(scope="module")
def truth(demo_set: DemoSet) -> pa.Table:
    return pq.read_table(demo_set.truth_path)


def as_labels(truth: pa.Table, *, q: np.ndarray | None = None, cam_t: np.ndarray | None = None) -> pa.Table:
    """The truth as a generation, with columns replaced and a row without a label among them."""
    table = truth
    for name, values in (("q", q), ("cam_t", cam_t)):
        if values is not None:
            column = pa.array(list(values.astype(np.float32)), table.schema.field(name).type)
            table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table.append_column("has_label", pa.array([True] * len(table)))


def straight_ahead(table: pa.Table) -> pa.Table:
    """The same people, far away in the middle of their photos, where a crop unit is one anywhere on them."""
    cam_t = column(table, "cam_t") * [0, 0, 20]
    return (
        as_labels(table, cam_t=cam_t)
        .drop_columns(["has_label", "focal", "camera_turn"])
        .append_column("focal", pa.array(table["focal"].to_numpy() * 20))
        .append_column(
            table.schema.field("camera_turn"),
            pa.array([[0.0] * 3] * len(table), table.schema.field("camera_turn").type),
        )
    )


def column(table: pa.Table, name: str) -> np.ndarray:
    return np.stack(table[name].to_numpy())


def test_the_truth_has_no_error(truth: pa.Table, skel: Skel) -> None:
    errors = label_errors(as_labels(truth), truth, skel)
    assert errors.num_rows == truth.num_rows
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_error_px", "limit_violation_deg"):
        assert errors[name].to_numpy().max() < 1e-2


def test_order_of_the_labels_does_not_matter(truth: pa.Table, skel: Skel) -> None:
    q = column(truth, "q")
    q[::2, 30] += 0.3
    labels = as_labels(truth, q=q)
    shuffled = labels.take(np.random.default_rng(0).permutation(len(labels)))
    assert label_errors(shuffled, truth, skel).equals(label_errors(labels, truth, skel))


def test_camera_errors_show_in_the_picture_only(truth: pa.Table, skel: Skel) -> None:
    """1 % of a crop to the right: tx + 0.01 z / f."""
    truth = straight_ahead(truth)
    cam_t = column(truth, "cam_t").astype(np.float64)
    cam_t[:, 0] += 0.01 * cam_t[:, 2] / truth["focal"].to_numpy()
    errors = label_errors(as_labels(truth, cam_t=cam_t), truth, skel)
    assert errors["mpjpe_mm"].to_numpy().max() < 1e-3
    np.testing.assert_allclose(errors["kp2d_error_px"].to_numpy(), 2.56, rtol=0.05)


def test_pose_errors_and_limits(truth: pa.Table, skel: Skel) -> None:
    q = column(truth, "q")
    q[:, KNEE] = q_limits()[0][KNEE] - np.deg2rad(15)
    row = mean_label_errors([label_errors(as_labels(truth, q=q), truth, skel)])[0]
    assert row["limit_violation_deg"] == pytest.approx(15, abs=0.01)
    assert row["limit_violations"] == truth.num_rows
    assert row["mpjpe_mm"] > 10
    assert row["mpvpe_mm"] > 10
    assert row["pa_mpjpe_mm"] > 10


def test_rounds_are_compared_over_common_people(truth: pa.Table, skel: Skel) -> None:
    """A person without a label in one round counts in none."""
    q = column(truth, "q")
    q[0, 30] += 1.5
    bad = as_labels(truth, q=q)
    fewer = as_labels(truth).set_column(
        bad.column_names.index("has_label"), "has_label", pa.array([False] + [True] * (len(truth) - 1))
    )
    first, second = mean_label_errors([label_errors(labels, truth, skel) for labels in (bad, fewer)])
    assert first["people"] == second["people"] == len(truth) - 1
    assert first["mpjpe_mm"] == pytest.approx(second["mpjpe_mm"], abs=1e-3)


def test_only_some_people_are_looked_at(truth: pa.Table, skel: Skel) -> None:
    q = column(truth, "q")
    q[0, 30] += 1.5
    errors = label_errors(as_labels(truth, q=q), truth, skel)
    first, second = ([tuple(row[name] for name in IDENTITY_COLUMNS)] for row in truth.slice(0, 2).to_pylist())
    assert mean_label_errors([errors], first)[0]["mpjpe_mm"] > 10
    assert mean_label_errors([errors], second)[0]["mpjpe_mm"] < 1e-2
    assert mean_label_errors([errors], second)[0]["people"] == 1
    assert mean_label_errors([errors], [])[0]["people"] == 0


def test_no_common_people_gives_nan_not_zero(truth: pa.Table, skel: Skel) -> None:
    empty = label_errors(as_labels(truth).slice(0, 0), truth, skel)
    assert empty.num_rows == 0
    assert np.isnan(mean_label_errors([empty])[0]["mpjpe_mm"])


def test_two_labels_of_a_person_are_refused(truth: pa.Table, skel: Skel) -> None:
    labels = as_labels(truth)
    with pytest.raises(ValueError, match="has several labels"):
        label_errors(pa.concat_tables([labels, labels.slice(0, 1)]), truth, skel)


def test_the_same_body_under_two_cameras_is_compared_in_the_photo(truth: pa.Table, skel: Skel) -> None:
    """Turning the crop camera, and the body back, moves nothing in the photo but the crop's middle. The body is another
    in the crop's axes.
    """
    turns = column(truth, "camera_turn").astype(np.float64)
    extra = Rotation.from_rotvec([0.0, 0.1, 0.0])
    joint = skel.joints(*(torch.as_tensor(column(truth, name)) for name in ("q", "betas")))[:, 0].double().numpy()
    q = column(truth, "q").astype(np.float64)
    old = orientation_to_matrix(torch.as_tensor(q[:, :3])).numpy()
    q[:, :3] = matrix_to_orientation(torch.as_tensor(extra.inv().as_matrix() @ old)).numpy()
    cam_t = extra.inv().apply(column(truth, "cam_t") + joint) - joint
    labels = as_labels(truth, q=q, cam_t=cam_t)
    field = truth.schema.field("camera_turn")
    turned = (Rotation.from_rotvec(turns) * extra).as_rotvec().astype(np.float32)
    labels = labels.set_column(labels.column_names.index(field.name), field, pa.array(list(turned), field.type))
    errors = label_errors(labels, truth, skel)
    forward = [Rotation.from_rotvec(x).as_matrix()[..., 2] for x in (turned, turns)]
    middle, true_middle = (x[:, :2] / x[:, 2:] for x in forward)
    moved = truth["focal"].to_numpy() * np.linalg.norm(middle - true_middle, axis=1) * 256
    np.testing.assert_allclose(errors["kp2d_error_px"].to_numpy(), moved, rtol=1e-3)
    assert errors["mpjpe_mm"].to_numpy().min() > 10
    assert errors["pa_mpjpe_mm"].to_numpy().max() < 0.1


def test_a_row_without_a_focal_length_holds_for_hsmrs_camera(truth: pa.Table, skel: Skel) -> None:
    far = straight_ahead(truth)
    cam_t = column(far, "cam_t") * [[1, 1, 1]]
    depth = cam_t[:, 2] * (5000 / 256) / far["focal"].to_numpy()
    labels = as_labels(far, cam_t=np.column_stack([cam_t[:, :2], depth]))
    unknown = labels.set_column(
        labels.column_names.index("focal"), "focal", pa.array([None] * len(labels), pa.float64())
    )
    assert label_errors(unknown, far, skel)["kp2d_error_px"].to_numpy().max() < 3
