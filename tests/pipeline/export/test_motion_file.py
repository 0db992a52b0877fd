"""OpenSim reads our motions, and a model driven by them takes SKEL's pose."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body import Skel
from pipeline.body.representation import q_to_rotations
from pipeline.body.rotations import rotation_about
from pipeline.export.coordinate_order import opensim_angles
from pipeline.export.motion_file import COORDINATES, PELVIS_TRANSLATIONS, Motion, motion_file
from pipeline.export.upright_axes import pose_on_ground, to_ground, to_upright
from pipeline.fit.solver.orientation import PelvisOrientation
from schemas.skel import DOFS, Q_NAMES
from tests.pipeline.body.standin import Golden
from tests.shape_checks import shapes_unchecked

O_TO_S = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # C of docs/body_model.md


def random_q(count: int, seed: int, size: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * (2 * torch.rand(count, 46, generator=generator, dtype=torch.float64) - 1)


def motion(count: int = 5, seed: int = 0) -> Motion:
    rng = np.random.default_rng(seed)
    return Motion(
        name="a walk", times=np.arange(count) / 50, q=random_q(count, seed).numpy(), pelvis=rng.normal(size=(count, 3))
    )


def write(folder: Path, motion: Motion) -> str:
    path = folder / "motion.mot"
    path.write_bytes(motion_file(motion))
    return str(path)


def columns(opensim, path: str) -> dict[str, np.ndarray]:
    table = opensim.TimeSeriesTable(path)
    return {name: table.getDependentColumn(name).to_numpy() for name in table.getColumnLabels()}


def test_columns_are_bsm_names(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "standin_body" / "skel.npz")
    assert [name for name in COORDINATES if name not in PELVIS_TRANSLATIONS] == golden["pose_param_names"].tolist()
    assert COORDINATES[:6] == (*Q_NAMES[:3], "pelvis_tx", "pelvis_ty", "pelvis_tz")


def test_opensim_reads_what_was_written(opensim: Any, tmp_path: Path) -> None:
    wanted = motion()
    path = write(tmp_path, wanted)
    table = opensim.TimeSeriesTable(path)
    assert tuple(table.getColumnLabels()) == COORDINATES
    assert table.getTableMetaDataString("inDegrees") == "yes"
    np.testing.assert_allclose(table.getIndependentColumn(), wanted.times, atol=1e-9)
    found = columns(opensim, path)
    for i, name in enumerate(Q_NAMES):
        np.testing.assert_allclose(found[name], np.degrees(wanted.q[:, i]), atol=1e-6, err_msg=name)
    for i, name in enumerate(PELVIS_TRANSLATIONS):
        np.testing.assert_allclose(found[name], wanted.pelvis[:, i], atol=1e-6)
    storage = opensim.Storage(path)
    assert storage.isInDegrees()
    assert (storage.getSize(), storage.getName()) == (5, "a walk")
    assert storage.getStateIndex("knee_angle_r") == COORDINATES.index("knee_angle_r")


def test_turns_do_not_jump() -> None:
    q = np.zeros((3, 46))
    q[:, 2] = np.radians([170, 179, -175])
    content = motion_file(Motion(name="turn", times=np.arange(3.0), q=q, pelvis=np.zeros((3, 3)))).decode()
    rows = content.partition("endheader\n")[2].splitlines()
    place = rows[0].split("\t").index("pelvis_rotation")
    assert [float(row.split("\t")[place]) for row in rows[1:]] == pytest.approx([170, 179, 185])


def test_a_hostile_name_stays_on_its_line() -> None:
    lines = motion_file(
        Motion(name="x\nendheader\r\u202e", times=np.zeros(1), q=np.zeros((1, 46)), pelvis=np.zeros((1, 3)))
    ).splitlines()
    assert lines.index(b"endheader") == 7
    assert lines[0] == b"x endheader \\u202e"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": np.zeros(5)}, "increase"),
        ({"q": np.full((5, 46), np.nan)}, "NaN"),
        ({"q": np.zeros((5, 45))}, "expected times"),
    ],
)
def test_a_motion_that_opensim_would_refuse_is_refused_here(changes: dict[str, Any], message: str) -> None:
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        replace(motion(), **changes)


def test_facing_the_camera_upright_is_zero(open_skel: Skel) -> None:
    """SKEL's T-pose (S-axes: y up) in an image is turned by half about x; there its pelvis angles are zero again."""
    orientation = PelvisOrientation(open_skel.rig)
    half_turn = rotation_about(torch.tensor([[1.0, 0, 0]], dtype=torch.float64), torch.tensor([torch.pi]).double())
    q = torch.zeros(1, 46, dtype=torch.float64)
    q[:, :3] = orientation.to_q(half_turn)
    assert q[:, :3].abs().max() > 3
    torch.testing.assert_close(pose_on_ground(q, orientation), torch.zeros_like(q), atol=1e-7, rtol=0)


def test_axes() -> None:
    right, up, to_camera = (np.array(v, dtype=np.float64) for v in ((1, 0, 0), (0, -1, 0), (0, 0, -1)))
    assert to_upright(right).tolist() == [1, 0, 0]
    assert to_upright(up).tolist() == [0, 1, 0]
    assert to_upright(to_camera).tolist() == [0, 0, 1]
    points = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(to_ground(points), to_upright(points) @ O_TO_S)  # C^T applied to each


def test_pelvis_angles_give_the_posed_pelvis(open_skel: Skel) -> None:
    """Against the forward pass, which knows nothing of these axes."""
    q = random_q(20, 1, size=3.0)
    posed = open_skel.bone_motion(q, torch.zeros(20, 10, dtype=torch.float64))[2].rotations[:, 0].numpy()
    in_upright = np.diag([1.0, -1, -1]) @ posed
    ground = pose_on_ground(q, PelvisOrientation(open_skel.rig))
    found = O_TO_S @ q_to_rotations(ground)[:, 0].numpy() @ O_TO_S.T
    np.testing.assert_allclose(found, in_upright, atol=1e-9)
    torch.testing.assert_close(ground[:, 3:], q[:, 3:])


@given(st.integers(0, 2**31))
def test_opensim_angles_give_the_same_rotation(seed: int) -> None:
    q = random_q(4, seed, size=2.0)
    found, wanted = opensim_angles(q), q_to_rotations(q)
    for joint in range(24):
        ids = [i for i, dof in enumerate(DOFS) if dof.joint == joint]
        if len(ids) == 3:
            composed = torch.eye(3, dtype=q.dtype).expand(4, 3, 3)
            for i in ids:
                composed = composed @ rotation_about(q.new_tensor(DOFS[i].axis).expand(4, 3), found[:, i])
            torch.testing.assert_close(composed, wanted[:, joint], atol=1e-9, rtol=0)
        else:
            torch.testing.assert_close(found[:, ids], q[:, ids])


def test_the_orders_differ_by_as_much_as_documented() -> None:
    """Twenty degrees in each of the pelvis' three angles: docs/predict.md and coordinate_order.py name the figure."""
    q = torch.zeros(1, 46, dtype=torch.float64)
    q[:, :3] = np.radians(20)
    skel, axes = q_to_rotations(q)[0, 0], torch.tensor([dof.axis for dof in DOFS[:3]], dtype=q.dtype)
    turns = [rotation_about(axis, q[0, 0]) for axis in axes]
    between = (turns[0] @ turns[1] @ turns[2]).mT @ skel
    assert torch.rad2deg(torch.arccos((between.trace() - 1) / 2)).item() == pytest.approx(11.9, abs=0.05)


@pytest.mark.parametrize("order", ["skel", "opensim"])
def test_a_model_driven_by_the_motion_takes_the_pose(opensim: Any, order: str, tmp_path: Path, open_skel: Skel) -> None:
    """Pelvis and right hip as CustomJoints, the knee as a PinJoint. With `skel` the joints list the axes last first."""
    q = random_q(6, 3, size=1.2)
    ground = pose_on_ground(q, PelvisOrientation(open_skel.rig))
    written = (opensim_angles(ground) if order == "opensim" else ground).numpy()
    pelvis = np.random.default_rng(0).normal(size=(6, 3))
    path = write(tmp_path, Motion(name="pose", times=np.arange(6.0), q=written, pelvis=pelvis))
    model, state = leg_model(opensim, reverse=order == "skel")
    table, wanted = columns(opensim, path), q_to_rotations(ground).numpy()
    for row in range(6):
        for coordinate in model.getCoordinateSet():
            rotational = coordinate.getName() not in PELVIS_TRANSLATIONS
            value = table[coordinate.getName()][row]
            coordinate.setValue(state, float(np.radians(value) if rotational else value))
        model.realizePosition(state)
        poses = [model.getBodySet().get(name).getTransformInGround(state) for name in ("pelvis", "femur_r", "tibia_r")]
        turns = [np.array([[pose.R().get(i, j) for j in range(3)] for i in range(3)]) for pose in poses]
        np.testing.assert_allclose(turns[0], wanted[row, 0], atol=1e-7)
        np.testing.assert_allclose(turns[0].T @ turns[1], wanted[row, 1], atol=1e-7)
        np.testing.assert_allclose(turns[1].T @ turns[2], wanted[row, 2], atol=1e-7)
        np.testing.assert_allclose([poses[0].p().get(i) for i in range(3)], pelvis[row], atol=1e-7)


def leg_model(opensim, *, reverse: bool):
    """Pelvis, femur and tibia that turn about SKEL's axes, joints at the origin; the model and its state."""
    model = opensim.Model()
    bodies = {name: opensim.Body(name, 1, opensim.Vec3(0), opensim.Inertia(1, 1, 1)) for name in LEG}
    for body in bodies.values():
        model.addBody(body)
    step = -1 if reverse else 1
    for name, parent, first, moves in (("pelvis", model.getGround(), 0, True), ("femur_r", bodies["pelvis"], 3, False)):
        turns = opensim.SpatialTransform()
        for place, dof in enumerate(DOFS[first : first + 3][::step]):
            drive(opensim, turns.updTransformAxis(place), dof.name, dof.axis)
        for place, coordinate in enumerate(PELVIS_TRANSLATIONS if moves else ()):
            drive(opensim, turns.updTransformAxis(3 + place), coordinate, np.eye(3)[place])
        model.addJoint(opensim.CustomJoint(f"joint_{name}", parent, bodies[name], turns))
    flipped = opensim.Vec3(np.pi, 0, 0)  # a PinJoint turns about the z of its frames; SKEL's knee about -z
    origin = opensim.Vec3(0)
    knee = opensim.PinJoint("knee", bodies["femur_r"], origin, flipped, bodies["tibia_r"], origin, flipped)
    knee.updCoordinate().setName("knee_angle_r")
    model.addJoint(knee)
    return model, model.initSystem()


LEG = ("pelvis", "femur_r", "tibia_r")


def drive(opensim, axis, coordinate: str, direction) -> None:
    axis.setCoordinateNames(opensim.ArrayStr(coordinate, 1))
    axis.setAxis(opensim.Vec3(*(float(x) for x in direction)))
    axis.set_function(opensim.LinearFunction(1, 0))


def test_the_pelvis_turns_about_skels_axes_in_golden_numbers(golden_dir: Path, standin_skel: Skel) -> None:
    """SKEL's own forward pass (golden): world rotation of the pelvis in S-axes is C Rp C^T of the angles we write."""
    golden = Golden(golden_dir / "skel_forward.npz")
    bone = standin_skel.rig.bone_rotations[0]
    c = bone @ standin_skel.rig.apose_rotations[0].mT
    posed = golden("joints_ori")[:, 0] @ bone.mT
    torch.testing.assert_close(c @ q_to_rotations(golden("poses"))[:, 0] @ c.mT, posed, atol=1e-5, rtol=0)
