"""python jobs/predict.py with body.gender=auto: every person of a shard is posed by the body of their gender."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from jobs.overlay_labels import main as overlay
from jobs.predict import main
from pipeline.labels import LabelStore
from pipeline.runtime.config import BodyConfig
from pipeline.shards import list_shards, read_shard, write_shard
from pipeline.storage.opening import open_storage
from schemas.person import Photo
from tests.pipeline.labels.label_tables import label_table, lineage, replace_column
from tests.pipeline.rounds.made_shards import make_samples
from tests.pipeline.rounds.test_genders import said
from tests.trainer.inference.test_predict import info_of
from tests.trainer.networks import SMALL
from trainer.checkpoint import save_checkpoint
from trainer.inference.label_poses import LabelPoses
from trainer.inference.two_stage import TwoStagePredictor
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr

GENDERS = ("female", None, "male")
GIVEN = ["female", "male", "male"]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("input") / "made" / "000000.tar"
    write_shard(str(path), said(make_samples(len(GENDERS)), GENDERS))
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    storage = open_storage(str(tmp_path_factory.mktemp("checkpoint")))
    save_checkpoint(storage, "small.safetensors", Hsmr(SMALL), info_of())
    return storage.url("small.safetensors")


def predicted(output: Path, shard: str, checkpoint: str, body: Path, choice: str) -> list[dict[str, Any]]:
    words = ["--images", shard, "--checkpoint", checkpoint, "--output", str(output), "--refine", "--overlays", "--mot"]
    body_words = [f"body.source={body}", f"body.gender={choice}", "device=cpu", "camera=hsmr"]
    assert main([*words, "--meshes", "obj", *body_words]) == 0
    return pq.read_table(output / "predictions.parquet").to_pylist()


def written_numbers(output: Path, place: int, ending: str) -> np.ndarray:
    """All numbers of a person's file, in order."""
    (path,) = (path for path in output.rglob(f"*{place:04d}*") if path.name.endswith(ending))
    return np.array([float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", path.read_text())])


def test_everyone_is_posed_refined_and_drawn_by_their_body(
    shard: str, checkpoint: str, two_bodies: Path, tmp_path: Path
) -> None:
    found = {
        choice: predicted(tmp_path / choice, shard, checkpoint, two_bodies, choice)
        for choice in ("male", "female", "auto")
    }
    assert [row["gender"] for row in found["auto"]] == GIVEN
    assert {row["gender"] for row in found["male"]} == {"male"}
    for place, gender in enumerate(GIVEN):
        row, alone = found["auto"][place], found[gender][place]
        assert row["decision"] == alone["decision"]
        for name in ("q", "betas", "cam_t", "pelvis", "kp2d_error", "predicted_kp2d_error"):
            np.testing.assert_allclose(row[name], alone[name], rtol=1e-5, atol=1e-5, err_msg=name)
        for ending in ("obj", "mot"):
            mine, other = (written_numbers(tmp_path / choice, place, ending) for choice in ("auto", gender))
            np.testing.assert_allclose(mine, other, atol=1e-3, err_msg=ending)
    assert not np.allclose(found["male"][0]["pelvis"], found["female"][0]["pelvis"], atol=1e-4)


def test_smpl_is_converted_to_the_body_of_each(shard: str, two_bodies: Path) -> None:
    torch.manual_seed(0)
    network, photos = Hmr2(SMALL), [item for item in read_shard(list_shards(shard)[0]) if isinstance(item, Photo)]
    poses = {
        choice: TwoStagePredictor.of(network, "cpu", BodyConfig(source=str(two_bodies), gender=choice)).pose(photos)
        for choice in ("male", "female", "auto")
    }
    assert [pose.gender for pose in poses["auto"]] == GIVEN
    for place, gender in enumerate(GIVEN):
        np.testing.assert_allclose(poses["auto"][place].betas, poses[gender][place].betas, atol=1e-4)


def test_labels_are_posed_by_the_body_that_they_state(tmp_path: Path, two_bodies: Path, shard: str) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    info = list_shards(shard)[0]
    table = label_table(info.dataset, info.shard, rows=len(GIVEN))
    keys = [f"made/{place:04d}" for place in range(len(GIVEN))]
    table = replace_column(replace_column(table, "key", keys), "person", [0] * len(GIVEN))
    table = replace_column(table, "gender", GIVEN)
    staged = store.staging(0, "run-a", "c" * 64).write(info.dataset, info.shard, table, readable=len(GIVEN))
    store.publish(lineage(shards=[(info.dataset, info.shard)]), [staged])
    photos = [item for item in read_shard(info) if isinstance(item, Photo)]
    poses = LabelPoses(store, 0, "auto").pose(photos)
    assert [pose and pose.gender for pose in poses] == GIVEN
    words = ["--rounds", "0", "--output", str(tmp_path / "o.png"), f"data.shards={shard}"]
    given = [f"storage.root={tmp_path}/labels", f"body.source={two_bodies}"]
    assert overlay([*words, *given, "body.gender=auto"]) == 0
    assert (tmp_path / "o.png").is_file()
    assert overlay([*words, *given]) == 1, "the male body alone is not that of the woman's label"
