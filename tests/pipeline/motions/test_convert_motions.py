"""Motions become SKEL: near the SMPL meshes, one shape, the same place; resumable, and each file is accounted for."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from jobs.convert_motions import main
from pipeline.body import Skel, Smpl
from pipeline.export.motion_file import COORDINATES
from pipeline.motions.convert_motion import KEY_EVERY, MotionConverter, SkelMotion, neighbours
from pipeline.motions.errors import MotionFileError
from pipeline.motions.motion_list import list_motions
from pipeline.motions.motion_outputs import MOTION_SCHEMA, content
from pipeline.motions.smpl_motion import SmplMotion, read_smpl_motion
from tests.pipeline.motions.amass import smpl_h, write
from trainer.prior.mocap_poses import load_mocap


@pytest.fixture(scope="module")
def smpl_motion(tmp_path_factory: pytest.TempPathFactory) -> SmplMotion:
    with write(tmp_path_factory.mktemp("amass"), "walk.npz").open("rb") as file:
        return read_smpl_motion(file, "walk.npz")


@pytest.fixture(scope="module")
def converted(smpl_motion: SmplMotion, open_smpl: Smpl, open_skel: Skel) -> SkelMotion:
    return MotionConverter(open_smpl, open_skel, gender="female", smpl_gender="female").convert(smpl_motion)


def test_the_skin_lies_where_the_smpl_mesh_does(
    smpl_motion: SmplMotion, converted: SkelMotion, open_smpl: Smpl, open_skel: Skel
) -> None:
    q, betas = torch.as_tensor(converted.q), torch.as_tensor(np.tile(converted.betas, (10, 1)))
    skin = open_skel.forward(q.to(open_skel.dtype), betas.to(open_skel.dtype)).skin_vertices.float()
    shape = torch.as_tensor(np.tile(smpl_motion.betas, (10, 1))).to(open_smpl.dtype)
    mesh = open_smpl(torch.as_tensor(smpl_motion.pose).to(open_smpl.dtype), shape).vertices.float()
    mesh, skin = mesh + torch.as_tensor(smpl_motion.trans)[:, None], skin + torch.as_tensor(converted.trans)[:, None]
    distance = 1000 * (skin - mesh).norm(dim=2)
    assert distance.mean() < 6
    np.testing.assert_allclose(distance.mean(1), converted.pve_mean_mm, atol=0.05)
    np.testing.assert_allclose(distance.amax(1), converted.pve_max_mm, atol=0.05)
    joints = open_skel.joints(q.to(open_skel.dtype), betas.to(open_skel.dtype))[:, 0].float()
    np.testing.assert_allclose(converted.pelvis, joints + torch.as_tensor(converted.trans), atol=1e-4)
    assert converted.pelvis[-1, 0] - converted.pelvis[0, 0] == pytest.approx(9 / 60, abs=0.03)


def test_a_neighbour_is_as_good_a_start_as_none(
    smpl_motion: SmplMotion, converted: SkelMotion, open_smpl: Smpl, open_skel: Skel
) -> None:
    alone = MotionConverter(open_smpl, open_skel, gender="female", smpl_gender="female")
    for frame in (0, 3, 9):
        one = SmplMotion(
            pose=smpl_motion.pose[frame : frame + 1],
            trans=smpl_motion.trans[frame : frame + 1],
            betas=smpl_motion.betas,
            fps=60,
            gender=None,
        )
        apart = alone.convert(one).pve_mean_mm[0] - converted.pve_mean_mm[frame]
        assert abs(apart) < 0.6, "its own shape fits one frame a little better"


def test_neighbours_cover_every_frame_once() -> None:
    for count in (1, 2, KEY_EVERY, KEY_EVERY + 1, 23):
        keys, others, nearest = neighbours(count)
        assert sorted([*keys.tolist(), *others.tolist()]) == list(range(count))
        away = (keys[nearest] - others).abs() if len(others) else torch.zeros(1)
        assert away.max() <= KEY_EVERY - 1
        if count % KEY_EVERY == 1:
            assert away.max() <= KEY_EVERY // 2, "the nearer of the two"


def test_files(converted: SkelMotion, open_skel: Skel, tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    path.write_bytes(content(converted, "walk", "npz", skel=open_skel, up="z", angles="skel"))
    prior = load_mocap([str(path)])
    np.testing.assert_array_equal(prior.q, converted.q)
    assert prior.dropped == 0
    raw = pickle.loads(content(converted, "walk", "pkl", skel=open_skel, up="z", angles="skel"))
    assert (raw["gender"], raw["mocap_framerate"]) == ("female", 60.0)
    assert (raw["poses"].shape, raw["betas"].shape, raw["trans"].shape) == ((10, 46), (10, 10), (10, 3))
    table = pq.read_table(io.BytesIO(content(converted, "walk", "parquet", skel=open_skel, up="z", angles="skel")))
    assert table.schema.equals(MOTION_SCHEMA)
    assert table["time"].to_pylist() == pytest.approx([frame / 60 for frame in range(10)])


def test_opensim_motions_stand_upright(converted: SkelMotion, open_skel: Skel) -> None:
    text = content(converted, "walk", "mot", skel=open_skel, up="z", angles="skel").decode()
    rows = np.array([line.split("\t") for line in text.splitlines()[9:]], float)
    of = dict(zip(("time", *COORDINATES), rows.T, strict=True))
    np.testing.assert_allclose(of["pelvis_ty"], converted.pelvis[:, 2], atol=1e-6)  # what was up is up
    assert (abs(of["pelvis_tilt"]) < 15).all(), "a person who walks upright"
    assert (abs(of["pelvis_list"]) < 15).all()
    np.testing.assert_allclose(of["knee_angle_r"], np.degrees(converted.q[:, 6]), atol=1e-4)
    lying = content(converted, "walk", "mot", skel=open_skel, up="y", angles="skel").decode()
    tilted = np.array([line.split("\t") for line in lying.splitlines()[9:]], float)[:, 1]
    assert (abs(tilted) > 60).all(), "with the wrong axis up the person lies"


def test_the_command_converts_resumes_and_accounts_for_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    amass, output = tmp_path / "amass", tmp_path / "skel"
    write(amass, "CMU/01/walk_poses.npz")
    write(amass, "CMU/shape.npz", poses=None)
    (amass / "notes.txt").write_text("no motion")
    asked = [
        "--motions",
        str(amass),
        "--output",
        str(output),
        "--formats",
        "npz",
        "mot",
        "--fps",
        "30",
        "--actors",
        "1",
    ]
    assert main(asked) == 1
    told = capsys.readouterr()
    assert "1 motions, 5 frames" in told.out
    assert "has no poses" in told.out
    assert "1 of 2 files were rejected" in told.err
    names = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert names == {
        "CMU/01/walk_poses.npz", "CMU/01/walk_poses.mot", "conversions.json",
        "records/CMU/01/walk_poses.json", "records/CMU/shape.json",
    }  # fmt: skip
    record = {item["name"]: item for item in json.loads((output / "conversions.json").read_text())}["CMU/01/walk_poses"]
    assert (record["frames"], record["fps"], record["gender"]) == (5, 30.0, "female")
    assert 0 < record["pve_mean_mm"] < 6
    before = (output / "CMU/01/walk_poses.npz").stat().st_mtime_ns
    (amass / "CMU/shape.npz").unlink()
    assert main(asked) == 0
    assert (output / "CMU/01/walk_poses.npz").stat().st_mtime_ns == before, "nothing finished is done again"
    write(amass, "CMU/01/walk_poses.npz", betas=smpl_h(seed=1)["betas"])
    assert main(asked) == 0
    assert (output / "CMU/01/walk_poses.npz").stat().st_mtime_ns > before, "a changed file is"


def test_sources_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--motions", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "there is no .npz or .pkl file" in capsys.readouterr().err
    one, other = write(tmp_path / "a", "walk.npz"), write(tmp_path / "b", "walk.npz")
    with pytest.raises(MotionFileError, match="would both become walk"):
        list_motions([str(one), str(other)])
    assert [task.name for task in list_motions([str(tmp_path)])] == ["a/walk", "b/walk"]
    assert main(["--motions", str(one), "--output", str(tmp_path / "out"), "--fps", "-1"]) == 2
