"""Validation's pictures: the same people each time, drawn where they are, in a file and in TensorBoard."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainer.data.made_generation import make_generation
from tests.trainer.training.jobs import ALONE, small_config, small_job
from trainer.data import LabelIndex, open_validation
from trainer.network.hsmr import HsmrOutput
from trainer.training.held_out_pictures import PEOPLE, HeldOutPictures
from trainer.training.metrics_files import PICTURE_FOLDER, PICTURES
from trainer.training.trained_body import load_trained_body
from trainer.training.worker import TrainingWorker


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    return make_generation(tmp_path_factory.mktemp("made"), shards=1, held_out_share=0.3)


@pytest.mark.parametrize("head", ["skel", "smpl"])
def test_every_validation_has_its_picture(head: str, index: LabelIndex, tmp_path: Path) -> None:
    config = small_config(
        "schedule.max_steps=4", "schedule.validate_every=2", "run.save_every=2", f"network.head={head}"
    )
    job = small_job(tmp_path, index, config)
    TrainingWorker(job, ALONE).run()
    sheets = [Image.open(io.BytesIO(job.storage.read(job.file(f"held_out/step-000000{step}.png")))) for step in (2, 4)]
    assert sheets[0].size == sheets[1].size
    assert min(sheets[0].size) > 200
    events = EventAccumulator(str(tmp_path / job.file(PICTURE_FOLDER)), size_guidance={"images": 0})
    events.Reload()
    assert [image.step for image in events.Images(PICTURES)] == [2, 4]
    shown = np.asarray(Image.open(io.BytesIO(events.Images(PICTURES)[-1].encoded_image_string)))
    np.testing.assert_array_equal(shown, np.asarray(sheets[1]))


def test_bodies_lie_where_the_network_sees_them(index: LabelIndex) -> None:
    """A lost prediction leaves the crop as it is."""
    config, body = small_config(), load_trained_body("skel", small_config().body, torch.device("cpu"))
    batch = next(iter(open_validation(config.data, index, batch_size=4)))
    far = torch.tensor([0.0, 0.0, 80.0])
    cam_t = torch.stack([far, far + torch.tensor([0.5, 0.0, 0.0]), far * torch.nan])
    zero = torch.zeros(3)
    predicted = HsmrOutput(
        q=torch.zeros(3, 46), betas=torch.zeros(3, 10), cam=zero.expand(3, 3), cam_t=cam_t,
        representation=torch.zeros(3, 24, 6), rotations=torch.eye(3).expand(3, 24, 3, 3),
    )  # fmt: skip
    batch = batch._stretch(slice(0, 3))
    pictures = HeldOutPictures()
    pictures.take_in(batch, predicted, body)
    changed = []
    for number, (_, drawn) in enumerate(pictures.rows):
        crop = batch.patches[number].permute(1, 2, 0).numpy()
        changed.append(np.abs(drawn.image.astype(int) - crop).sum(2) > 0)
    middle = [np.flatnonzero(mask.any(0)).mean() for mask in changed[:2]]
    assert middle[0] == pytest.approx(127.5, abs=8)
    assert middle[1] - middle[0] == pytest.approx(5000 * 0.5 / 80, abs=3)
    assert not changed[2].any()
    assert pictures.rows[2][1].caption == "no body"
    for _ in range(4):
        pictures.take_in(batch, predicted, body)
    assert len(pictures.rows) == PEOPLE
