"""HMR2.0 predicts SMPL bodies; converted, they are SKEL's, in result files and as what a round starts from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch

from jobs.predict import main
from pipeline.body import load_skel, load_smpl
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.fit import Skelify, SmplToSkel
from pipeline.image.camera import FOCAL, project
from pipeline.labelling.genders import BodyFits
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardTask, process_shard
from pipeline.shards import list_shards, read_shard, write_shard
from pipeline.storage.opening import open_storage
from schemas.gender import DEFAULT_GENDER
from schemas.labels import LABEL_SCHEMA
from schemas.person import Photo
from tests.pipeline.rounds.made_shards import make_samples
from tests.trainer.networks import INFO, SMALL
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.inference.predictor import CheckpointSource
from trainer.inference.two_stage import TwoStagePredictor
from trainer.network.hmr2 import Hmr2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that says something else of everybody, the released kind of cameras."""
    torch.manual_seed(0)
    network = Hmr2(SMALL)
    torch.nn.init.normal_(network.smpl_head.decpose.weight, std=0.03)
    torch.nn.init.normal_(network.smpl_head.decshape.weight, std=0.03)
    storage = open_storage(str(tmp_path_factory.mktemp("checkpoint")))
    info = replace(INFO, generation_snapshot_id=None, round=None, body_digest=load_smpl().digest)
    save_checkpoint(storage, "hmr2.safetensors", network, info)
    return storage.url("hmr2.safetensors")


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("set") / "made" / "000000.tar"
    write_shard(str(path), make_samples(4))
    return str(path)


def rows(output: Path) -> list[dict]:
    return pq.read_table(output / "predictions.parquet").to_pylist()


def photos_of(shard: str) -> list[Photo]:
    return [item for source in list_shards(shard) for item in read_shard(source) if isinstance(item, Photo)]


def test_smpl_bodies(checkpoint: str, shard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the network says them, in the table, over the photos and as meshes."""
    output = tmp_path / "out"
    arguments = ["--images", shard, "--checkpoint", checkpoint, "--output", str(output)]
    assert main([*arguments, "--overlays", "--hide-photos", "--meshes", "obj"]) == 0
    said = capsys.readouterr().out
    assert "bodies: SMPL\n" in said
    assert "WARNING" not in said
    found = rows(output)
    assert len(found) == 4
    assert "q" not in found[0]
    network = load_checkpoint(checkpoint).network
    assert isinstance(network, Hmr2)
    smpl, photos = load_smpl(), photos_of(shard)
    metadata = pq.read_schema(output / "predictions.parquet").metadata
    assert metadata[b"body_digest"].decode() == smpl.digest
    for row, photo in zip(found, photos, strict=True):
        pose = torch.tensor(row["smpl_pose"]).reshape(1, 24, 3)
        joints = smpl.joints(axis_angle_to_matrix(pose), torch.tensor(row["betas"])[None])
        np.testing.assert_allclose(row["pelvis"], joints[0, 0], atol=1e-5)
        picture = output / f"overlays/made/000000/{photo.key.replace('/', '%2F')}.jpg"
        drawn = simplejpeg.decode_jpeg(picture.read_bytes())
        place = np.add(row["photo_cam_t"], row["pelvis"])
        u, v = (round(row["photo_focal_px"] * place[i] / place[2] + 128) for i in (0, 1))
        assert np.abs(drawn[v, u].astype(int) - 200).max() > 10
    assert len(list((output / "meshes").rglob("*.obj"))) == 4


def test_two_stages_in_one_command(checkpoint: str, shard: str, tmp_path: Path) -> None:
    """The converted body lies where the predicted one does: surfaces and keypoints, the camera included."""
    output, plain = tmp_path / "out", tmp_path / "smpl"
    arguments = ["--images", shard, "--checkpoint", checkpoint, "--output"]
    assert main([*arguments, str(output), "--convert", "--mot", "--refine", "--meshes", "glb", "--skeleton"]) == 0
    assert len(list((output / "mot").rglob("*.mot"))) == 4
    assert pq.read_schema(output / "predictions.parquet").metadata[b"converted_from"] == b"smpl"
    assert {row["camera_source"] for row in rows(output)} <= {"hsmr", "prior"}
    assert main([*arguments, str(tmp_path / "skel"), "--convert"]) == 0
    assert main([*arguments, str(plain)]) == 0
    skel, smpl = load_skel(), load_smpl()
    for ours, theirs in zip(rows(tmp_path / "skel"), rows(plain), strict=True):
        skin = skel(torch.tensor(ours["q"])[None], torch.tensor(ours["betas"])[None]).skin_vertices
        pose, betas = torch.tensor(theirs["smpl_pose"]).reshape(1, 24, 3), torch.tensor(theirs["betas"])[None]
        mesh = smpl(pose, betas).vertices
        distance = (skin + torch.tensor(ours["cam_t"]) - mesh - torch.tensor(theirs["cam_t"])).norm(dim=-1)
        assert float(distance.mean()) < 0.02
        projected = [
            project(points, torch.tensor(row["cam_t"])[None])
            for points, row in (
                (skel.keypoints(torch.tensor(ours["q"])[None], torch.tensor(ours["betas"])[None]), ours),
                (smpl(pose, betas).keypoints, theirs),
            )
        ]
        assert float((projected[0] - projected[1]).norm(dim=-1).median()) < 0.02  # crop units


def test_a_round_starts_from_the_converted_prediction(checkpoint: str, shard: str) -> None:
    source = CheckpointSource(checkpoint, load_checkpoint(checkpoint).digest)
    predictor = source.load("cpu")
    assert isinstance(predictor, TwoStagePredictor)
    guesses = predictor.predict(photos_of(shard))
    assert len(guesses) == 4
    skel = load_skel(dtype=torch.float64)
    converter = SmplToSkel(load_smpl(), skel)
    for guess, posed in zip(guesses, predictor.pose(photos_of(shard)), strict=True):
        assert (guess.focal, posed.focal) == (FOCAL, FOCAL)
        assert np.isfinite(guess.q).all()
        assert (guess.q_std >= 0.3).all()
        np.testing.assert_array_equal(guess.q, posed.q)
        assert not posed.q_std.any()
    assert predictor.predict([]) == []

    (info,) = list_shards(shard)
    task = ShardTask(dataset=info.dataset, shard=info.shard, source=info)
    fits = BodyFits(smpl=load_smpl(dtype=torch.float64), skelify=Skelify(skel), converter=converter)
    models = Models(fits={DEFAULT_GENDER: fits}, lenses=KnownLenses(), predictor=predictor)
    zero = process_shard(task, 0, LABEL_SCHEMA.empty_table(), models, RoundConfig()).table
    one = process_shard(task, 1, zero, models, RoundConfig()).table
    told = np.array([np.any(row) for row in one["prediction_q"].to_pylist()])
    assert told.any()
