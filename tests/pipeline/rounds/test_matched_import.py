"""Whole imports by photo and box: the labels that the file has, SMPL converted as round 0 does, doubts on record."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.manage_labels import main
from pipeline.labels import LabelStore, vectors
from pipeline.rounds.driver import run_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from pipeline.shards import list_shards, read_shard
from schemas.person import Person, Photo
from tests.pipeline.rounds.made_shards import make_samples, write_shards

pytestmark = pytest.mark.usefixtures("local_ray")

PEOPLE = 8
QUIET = ("run.progress=false", "run.report=false", "fit.device=cpu", "run.actors=1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("matched") / "made", make_samples(PEOPLE), 2)


@pytest.fixture(scope="module")
def people(shards: str) -> list[Person]:
    photos = [item for info in list_shards(shards) for item in read_shard(info) if isinstance(item, Photo)]
    return [person for photo in photos for person in photo.people]


@pytest.fixture(scope="module")
def converted(shards: str, tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """Round 0 as ever, from the shards' own pseudo-labels."""
    root = tmp_path_factory.mktemp("converted") / "labels"
    run_round(0, load_config(RoundConfig, [f"storage.root={root}", f"data.shards={shards}", *QUIET]))
    return LabelStore(str(root))


def boxed(people: list[Person]) -> dict[str, Any]:
    return {
        "imgname": np.array([f"images/{person.id.key}.jpg" for person in people]),
        "center": np.stack([person.center for person in people]),
        "scale": np.array([person.side for person in people]) / 200,
    }


def imported(root: Path, *words: str) -> int:
    return main(["import", *words, f"storage.root={root}", *QUIET])


def rows(store: LabelStore, round: int = 0) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in store.read_all(round).to_pylist()}


def test_the_shards_own_smpl_labels_come_back_as_round_0_makes_them(
    shards: str, people: list[Person], converted: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a file of CameraHMR, and as rows of SAM 3D Body, of which the gates leave four."""
    known = [person for person in people if person.smpl is not None]
    smpl = [person.smpl for person in known if person.smpl is not None]
    pose, betas = np.stack([x.pose.reshape(72) for x in smpl]), np.stack([x.betas for x in smpl])
    np.savez(tmp_path / "aic-release.npz", **boxed(known), pose_cam=pose, shape=betas)
    own = ["--round", "0", "--camerahmr", str(tmp_path / "aic-release.npz"), f"data.shards={shards}"]
    assert imported(tmp_path / "labels", *own) == 0
    out = capsys.readouterr().out
    assert "aic-release.npz: 6 of 6 rows can be used\n" in out
    assert "6 of 8 people matched; converted 4, converted_poor_fit 2, no_label 2." in out
    store = LabelStore(str(tmp_path / "labels"))
    assert store.read_all(0).equals(converted.read_all(0)), "bit by bit"
    assert str(store.lineage(0).imported_from).startswith(str(tmp_path / "aic-release.npz"))

    corner, side = boxed(known)["center"] - known[0].side / 2, known[0].side
    table = {
        "image": [f"{person.id.key}.jpg" for person in known],
        "bbox": np.concatenate([corner, corner + side], 1).tolist(),
        "mhr_valid": [True, False, True, True, True, True],
        "loss": [0.1, 0.1, 0.9, 0.1, 0.1, 0.1],
        "smpl_pose": pose.tolist(),
        "smpl_betas": betas.tolist(),
    }
    pq.write_table(pa.table(table), tmp_path / "000000.parquet")
    own = ["--round", "0", "--sam3d", str(tmp_path / "000000.parquet"), "--max-loss", "0.5", f"data.shards={shards}"]
    assert imported(tmp_path / "sam", *own) == 0
    out = capsys.readouterr().out
    assert "000000.parquet with loss up to 0.5: 4 of 6 rows can be used (mhr_valid false: 1, loss above 0.5: 1)" in out
    assert "4 of 8 people matched; converted " in out
    back, before = rows(LabelStore(str(tmp_path / "sam"))), rows(converted)
    for key, row in back.items():
        if row["has_label"]:
            assert row["decision"] == before[key]["decision"]
            for name in ("q", "betas", "cam_t"):  # fitted beside others: the last bits may differ
                np.testing.assert_allclose(row[name], before[key][name], atol=1e-6)


def test_skel_labels_come_back_and_compete_later(
    shards: str, people: list[Person], converted: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(converted)
    known = [person for person in people if before[person.id.key]["has_label"]]
    q = np.array([before[person.id.key]["q"] for person in known], np.float32)
    betas = np.array([before[person.id.key]["betas"] for person in known], np.float32)
    np.savez(tmp_path / "aic_skel.npz", **boxed(known), skel_poses=q, skel_betas=betas)
    own = ["--skelcf", str(tmp_path / "aic_skel.npz"), f"data.shards={shards}"]
    assert imported(tmp_path / "labels", "--round", "0", *own) == 0
    assert "6 of 8 people matched; imported 6, no_label 2." in capsys.readouterr().out
    store = LabelStore(str(tmp_path / "labels"))
    for name in ("q", "betas"):
        np.testing.assert_array_equal(vectors(store.read_all(0)[name]), vectors(converted.read_all(0)[name]))
    smpl = [person.smpl for person in known if person.smpl is not None]
    pose = np.stack([x.pose.reshape(72) for x in smpl])
    np.savez(tmp_path / "smpl.npz", **boxed(known), pose_cam=pose, shape=np.stack([x.betas for x in smpl]))
    assert imported(tmp_path / "labels", "--round", "1", "--camerahmr", str(tmp_path / "smpl.npz")) == 0
    expected = "kept_far_from_smpl 2, kept_not_better 4, no_label 2"  # two fit poorly, four are the very labels
    assert expected in capsys.readouterr().out


def test_who_could_be_two_is_on_record(
    shards: str, people: list[Person], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has the first person twice, and a third with a box of somebody else."""
    several = [people[0], people[0], people[1], people[2]]
    content = boxed(several)
    content["center"][3] += 20
    low = np.zeros((4, 46), np.float32)
    low[:, 1] = np.pi  # y down
    np.savez(tmp_path / "a.npz", **content, skel_poses=low, skel_betas=np.zeros((4, 10)))
    assert imported(tmp_path / "labels", "--round", "0", "--skelcf", f"{tmp_path}/a.npz", f"data.shards={shards}") == 0
    assert "1 of 8 people matched; imported 1, no_label 7." in capsys.readouterr().out
    store = LabelStore(str(tmp_path / "labels"))
    assert store.generation(0).rejections == {"import_undecided": 1}
    (sidecar,) = (tmp_path / "labels").glob("data/round=00000/run=*/dataset=made/000000.json")
    assert "boxes of the file overlap by 1.00 and by 1.00" in sidecar.read_text()
    assert not rows(store)[people[0].id.key]["has_label"]


def test_a_file_that_cannot_be_used_ends_the_command(
    shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", imgname=np.array(["x"]), center=np.zeros((1, 2)))
    words = ["--round", "0", "--camerahmr", f"{tmp_path}/a.npz", f"data.shards={shards}"]
    assert imported(tmp_path / "labels", *words) == 1
    assert "has neither 'pose_cam' nor 'pose'" in capsys.readouterr().err
    assert imported(tmp_path / "labels", "--round", "0", "--sam3d", f"{tmp_path}/b", f"data.shards={shards}") == 1
    words = ["--round", "0", "--npz", f"{tmp_path}/a.npz", "--max-loss", "1", f"data.shards={shards}"]
    assert imported(tmp_path / "labels", *words) == 2
    assert "--max-loss goes with --skelcf, --camerahmr or --sam3d" in capsys.readouterr().err
