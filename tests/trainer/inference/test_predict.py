"""python jobs/predict.py from end to end, with a small random network."""

import fcntl
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch

from jobs.predict import main
from pipeline.body import load_skel
from pipeline.export.motion_file import COORDINATES
from pipeline.image.camera import FOCAL
from pipeline.labels import LabelStore
from pipeline.shards import RawSample, person_record, write_shard
from pipeline.shards.person_record import check_person
from pipeline.storage.opening import open_storage
from schemas.person import PersonId, Photo
from schemas.skel import Q_NAMES
from tests.pipeline.labels.label_tables import lineage, stage
from tests.pipeline.rounds.made_shards import make_samples
from tests.pipeline.shards.samples import photo_bytes
from tests.trainer.networks import SMALL
from trainer.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from trainer.inference.image_folder import ImageFolder
from trainer.inference.known_spread import KnownSpread
from trainer.inference.label_poses import LabelPoses
from trainer.inference.predictor import NetworkPredictor
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("checkpoint"), Hsmr)


def info_of(**spread: tuple[float, ...]) -> CheckpointInfo:
    """Of a checkpoint that tells this of its predictions' errors."""
    return CheckpointInfo(
        variant="small",
        generation_snapshot_id=None,
        round=None,
        step=0,
        body_digest=load_skel().digest,
        config="",
        code_revision="test",
        **spread,
    )


def saved(folder: Path, kind: type[Hsmr] | type[Hmr2]) -> str:
    torch.manual_seed(0)
    info = info_of(q_std=tuple(np.linspace(0.1, 0.5, 46).tolist()))
    storage = open_storage(str(folder))
    save_checkpoint(storage, "small.safetensors", kind(SMALL), info)
    return storage.url("small.safetensors")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three photos of 96 x 64 px and a broken one."""
    folder = tmp_path / "walk"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(photo_bytes(i))
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def rows(output: Path) -> list[dict]:
    return pq.read_table(output / "predictions.parquet").to_pylist()


def motion(path: Path) -> dict[str, list[float]]:
    header, _, body = path.read_text().partition("endheader\n")
    assert "inDegrees=yes" in header
    names, *lines = [line.split("\t") for line in body.splitlines()]
    assert tuple(names) == ("time", *COORDINATES)
    return {name: [float(line[i]) for line in lines] for i, name in enumerate(names)}


def test_a_folder_of_images(checkpoint: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\n0.jpg,10,10,40,60\n0.jpg,50,10,80,60\n1.jpg,20,0,60,64\n")
    arguments = ["--images", str(images), "--boxes", str(boxes), "--checkpoint", checkpoint, "--output", str(output)]
    assert main([*arguments, "--overlays", "--meshes", "glb", "--mot"]) == 0
    said = capsys.readouterr().out
    assert "3 people in 3 photos, 2 rejections, 3 motions" in said
    assert "broken.jpg: undecodable_photo" in said
    found = rows(output)
    assert [(r["dataset"], r["shard"], r["key"], r["person"]) for r in found] == [
        ("walk", "", "0.jpg", 0),
        ("walk", "", "0.jpg", 1),
        ("walk", "", "1.jpg", 0),
    ]
    assert found[0]["photo_focal_px"] == pytest.approx(FOCAL * 96)
    metadata = pq.read_schema(output / "predictions.parquet").metadata
    assert metadata[b"checkpoint_sha256"].decode() == load_checkpoint(checkpoint).digest
    reasons = pq.read_table(output / "rejections.parquet").select(["key", "reason"]).to_pylist()
    assert {(r["key"], r["reason"]) for r in reasons} == {
        ("broken.jpg", "undecodable_photo"),
        ("2.jpg", "missing_labels"),
    }
    assert sorted(path.name for path in (output / "overlays/walk").iterdir()) == ["0.jpg.jpg", "1.jpg.jpg"]
    assert simplejpeg.decode_jpeg((output / "overlays/walk/0.jpg.jpg").read_bytes()).shape == (64, 96, 3)
    assert len(list((output / "meshes/walk").glob("*.glb"))) == 3
    angles = motion(output / "mot/walk/0.jpg.1.mot")
    for i, name in enumerate(Q_NAMES[3:], 3):
        assert angles[name] == pytest.approx([np.degrees(found[1]["q"][i])], abs=1e-4)
    place = np.add(found[1]["photo_cam_t"], found[1]["pelvis"])
    assert [angles[name][0] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")] == pytest.approx(
        [-place[2], -place[1], -place[0]], abs=1e-3
    )


def test_predictions_are_the_networks(checkpoint: str, images: Path, tmp_path: Path) -> None:
    assert main(["--images", str(images), "--checkpoint", checkpoint, "--output", str(tmp_path / "out")]) == 0
    network = load_checkpoint(checkpoint).network
    assert isinstance(network, Hsmr)
    photos = [photo for photo in ImageFolder(images) if isinstance(photo, Photo)]
    for row, guess in zip(rows(tmp_path / "out"), NetworkPredictor(network, "cpu").predict(photos), strict=True):
        np.testing.assert_allclose(row["q_std"], np.linspace(0.1, 0.5, 46), atol=1e-6)
        for name in ("q", "betas", "cam_t"):
            np.testing.assert_allclose(row[name], getattr(guess, name), atol=1e-5)


def test_each_person_has_a_spread_of_its_own(images: Path, tmp_path: Path) -> None:
    """What the head says, by the factors of the checkpoint; in guesses and in the table."""
    network = Hsmr(replace(SMALL, uncertainty="head"))
    torch.nn.init.normal_(network.head.get_parameter("spread.out.weight"))
    info = info_of(q_std=(0.3,) * 46, betas_std=(0.8,) * 10, spread_factors=(2.0,) * 46)
    save_checkpoint(open_storage(str(tmp_path)), "telling.safetensors", network, info)
    file = str(tmp_path / "telling.safetensors")
    assert main(["--images", str(images), "--checkpoint", file, "--output", str(tmp_path / "out")]) == 0
    photos = [photo for photo in ImageFolder(images) if isinstance(photo, Photo)]
    plain, calibrated = (
        NetworkPredictor(network, "cpu", KnownSpread.of(known)).predict(photos)
        for known in (replace(info, spread_factors=(1.0,) * 46), info)
    )
    assert np.ptp([guess.q_std[0] for guess in plain]) > 0
    for row, one, other in zip(rows(tmp_path / "out"), plain, calibrated, strict=True):
        np.testing.assert_allclose(other.q_std, 2 * one.q_std, rtol=1e-5)
        np.testing.assert_allclose(row["q_std"], other.q_std, rtol=1e-4)
        np.testing.assert_allclose(other.betas_std, 0.8, rtol=1e-6)


def test_images_as_one_video(checkpoint: str, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["--images", str(images), "--fps", "50", "--checkpoint", checkpoint, "--output", str(output), "--mot"]
    assert main(arguments) == 0
    angles = motion(output / "mot/walk/tracks/person0.mot")
    assert angles["time"] == pytest.approx([0, 0.02, 0.04])
    assert [(r["track_id"], r["frame"]) for r in rows(output)] == [("person0", i) for i in range(3)]


def test_opensim_loads_the_motion_of_a_video(opensim: Any, checkpoint: str, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["--images", str(images), "--fps", "25", "--checkpoint", checkpoint, "--output", str(output), "--mot"]
    assert main(arguments) == 0
    table = opensim.TimeSeriesTable(str(output / "mot/walk/tracks/person0.mot"))
    assert tuple(table.getColumnLabels()) == COORDINATES
    knee = table.getDependentColumn("knee_angle_r").to_numpy()
    np.testing.assert_allclose(knee, [np.degrees(r["q"][6]) for r in rows(output)], atol=1e-4)
    assert opensim.Storage(str(output / "mot/walk/tracks/person0.mot")).isInDegrees()


def filmed(track: str, frame: int, fps: float | None = None) -> dict:
    return person_record(
        keypoints_2d=np.zeros((44, 3)), center=(48, 32), scale=(0.3, 0.3), track=(track, frame), fps=fps
    )


def test_tracks_of_shards(checkpoint: str, tmp_path: Path) -> None:
    """Frames in any order, a gap, a frame that two people claim, a hostile name, a track with a rate of its own."""
    evil, rate = "../../evil", 20
    frames = [(4, ["a"]), (0, ["a", evil]), (1, ["a", "a"])]
    samples = [
        RawSample(key=f"film/{n}", jpeg=photo_bytes(), people=[filmed(t, n) for t in tracks]) for n, tracks in frames
    ]
    samples.append(RawSample(key="film/rated", jpeg=photo_bytes(), people=[filmed("b", n, rate) for n in (7, 9)]))
    for shard in ("000000", "000001"):
        (tmp_path / "film").mkdir(exist_ok=True)
        write_shard(str(tmp_path / f"film/{shard}.tar"), samples)
    output = tmp_path / "out"
    arguments = ["--images", str(tmp_path / "film"), "--fps", "10", "--checkpoint", checkpoint]
    assert main([*arguments, "--output", str(output), "--mot"]) == 0
    for shard in ("000000", "000001"):
        folder = output / "mot/film" / shard / "tracks"
        assert sorted(path.name for path in folder.iterdir()) == ["%2E.%2F..%2Fevil.mot", "a.mot", "b.mot"]
        assert motion(folder / "a.mot")["time"] == pytest.approx([0, 0.4])
        assert motion(folder / "b.mot")["time"] == pytest.approx([0, 0.1])
    assert pq.read_table(output / "rejections.parquet")["reason"].to_pylist() == ["duplicate_frame"] * 4


def test_refinement_lowers_the_error(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_shard(str(tmp_path / "made/000000.tar"), make_samples(3))
    output = tmp_path / "out"
    images = str(tmp_path / "made/000000.tar")
    assert main(["--images", images, "--checkpoint", checkpoint, "--output", str(output), "--refine"]) == 0
    found = rows(output)
    assert "improved" in {row["decision"] for row in found}
    for row in found:
        if row["decision"] == "improved":
            assert row["kp2d_error"] < 0.99 * row["predicted_kp2d_error"]
            assert np.all(np.array(row["q_std"]) > 0)
            assert not np.allclose(row["q_std"], np.linspace(0.1, 0.5, 46), atol=1e-6)
        else:
            assert row["kp2d_error"] == row["predicted_kp2d_error"]


def test_overlay_shows_the_body_where_the_camera_puts_it(checkpoint: str, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["--images", str(images), "--checkpoint", checkpoint, "--output", str(output)]
    assert main([*arguments, "--overlays", "--hide-photos"]) == 0
    for row in rows(output):
        drawn = simplejpeg.decode_jpeg((output / "overlays/walk" / f"{row['key']}.jpg").read_bytes())
        place = np.add(row["photo_cam_t"], row["pelvis"])
        u = round(row["photo_focal_px"] * place[0] / place[2] + 48)
        v = round(row["photo_focal_px"] * place[1] / place[2] + 32)
        assert np.abs(drawn[v, u].astype(int) - 200).max() > 10
        assert np.abs(drawn[1, 1].astype(int) - 200).max() < 10


def test_nobody_predicted(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"")
    output = tmp_path / "out"
    assert main(["--images", str(tmp_path / "bad"), "--checkpoint", checkpoint, "--output", str(output)]) == 1
    assert "nobody was predicted" in capsys.readouterr().err
    assert not (output / "predictions.parquet").exists()
    assert pq.read_table(output / "rejections.parquet").num_rows == 1


def test_a_finished_folder_is_not_overwritten(checkpoint: str, images: Path, tmp_path: Path) -> None:
    arguments = ["--images", str(images), "--checkpoint", checkpoint, "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    before = (tmp_path / "out/predictions.parquet").stat()
    assert main(arguments) == 2
    assert (tmp_path / "out/predictions.parquet").stat() == before


def test_two_runs_do_not_share_a_folder(
    checkpoint: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed run leaves its lock file and a partial table, which are in nobody's way; a living run is."""
    output = tmp_path / "out"
    output.mkdir()
    (output / ".predictions.parquet.partial").write_bytes(b"half a table")
    arguments = ["--images", str(images), "--checkpoint", checkpoint, "--output", str(output)]
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(arguments) == 2
        assert "Another run" in capsys.readouterr().err
    assert main(arguments) == 0
    assert not (output / ".predictions.parquet.partial").exists()


def test_what_is_wrong_is_said(
    checkpoint: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smpl = saved(tmp_path, Hmr2)
    (tmp_path / "boxes.csv").write_text("image\n")
    output = ["--output", str(tmp_path / "out")]
    cases = [
        ([str(images)], 2, "--checkpoint FILE or --labels"),
        ([str(images), "--checkpoint", str(tmp_path / "none.ckpt")], 1, "none.ckpt"),
        ([str(images), "--checkpoint", smpl, "--mot", "--skeleton"], 2, "--mot, --skeleton: "),
        ([str(images), "--checkpoint", smpl, "--refine"], 2, "Add --convert"),
        ([str(images), "--checkpoint", checkpoint, "--convert"], 2, "predicts SKEL by itself"),
        ([str(images), "--labels", "0", "--convert"], 2, "are SKEL's"),
        ([str(images), "--checkpoint", checkpoint, "--boxes", str(tmp_path / "boxes.csv")], 2, "no column"),
        ([str(tmp_path / "{0..3}.tar"), "--checkpoint", checkpoint], 2, "--images"),
        ([str(images), "--checkpoint", checkpoint, "--dataset", "x"], 2, "--dataset"),
        ([str(images), "--checkpoint", checkpoint, "--fps", "nan"], 2, "--fps nan"),
        ([str(images), "--checkpoint", checkpoint, "device=gpu"], 2, "device"),
        ([str(images), "--labels", "0", f"storage.root={tmp_path}/labels"], 1, "No labels are published"),
    ]
    for arguments, code, message in cases:
        assert main(["--images", *arguments, *output]) == code, arguments
        assert message in capsys.readouterr().err, arguments
    assert not (tmp_path / "out").exists()


def test_labels_in_the_place_of_predictions(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path))
    store.publish(lineage(), stage(store, 0, "run-a"))
    poses = LabelPoses(store, 0)
    for shard in ("000001", "000000"):
        table = store.read(0, "photos", shard).to_pylist()
        ids = [PersonId("photos", shard, row["key"], row["person"]) for row in table]
        for guess, row in zip(poses.pose([photo_of(ids)]), table, strict=True):
            assert (guess is not None) == row["has_label"]
            expected = [row[name] for name in ("q", "betas", "cam_t")]
            assert guess is None or [part.tolist() for part in (guess.q, guess.betas, guess.cam_t)] == expected
    assert poses.pose([photo_of([PersonId("photos", "no such shard", "000000", 0)])]) == [None]


def photo_of(ids: list[PersonId]) -> Photo:
    people = [check_person(filmed("a", 0), id, (96, 64)).person for id in ids]
    return Photo(key=ids[0].key, jpeg=photo_bytes(), width=96, height=64, people=tuple(people))
