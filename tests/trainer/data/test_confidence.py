"""Confidences on their way to the loss: the doubtful are absent, none pulls the wrong way or outweighs the rest."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.body.representation import q_to_rotations
from pipeline.shards import RawSample, list_shards, write_shard
from tests.pipeline.shards.samples import person, photo_bytes
from tests.trainer.data.made_generation import ids_of, label_table, of_skel, write_labels
from trainer.data import AugmentConfig, TrainBatch, TrainDataConfig, open_epoch
from trainer.data.augmentation import PLAIN
from trainer.data.collate import keypoints_3d_in_crop, keypoints_in_crop
from trainer.data.extreme_crop import Box, extreme_crop
from trainer.data.label_index import index_labels
from trainer.data.patch import crop_transform
from trainer.network.hsmr import HsmrOutput
from trainer.training.losses import PosedKeypoints, loss_terms

CONFIDENCE = np.resize(np.array([1.0, 0.1, -1.0, 5000.0, 0.29, 0.3], np.float32), 44)
COUNTED = np.resize(np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.3], np.float32), 44)


def people() -> list[dict]:
    places = np.random.default_rng(1).uniform(10, 50, (44, 3)).astype(np.float32)
    return [
        person(
            0,
            keypoints_2d=np.column_stack([places[:, :2], CONFIDENCE]).astype(np.float32),
            keypoints_3d=np.column_stack([places / 50, CONFIDENCE]).astype(np.float32),
        )
    ]


@pytest.fixture
def batch(tmp_path: Path) -> TrainBatch:
    """Read from a shard, as training does."""
    photos = [RawSample(key="set/a", jpeg=photo_bytes(0), people=people())]
    path = tmp_path / "set" / "000000.tar"
    write_shard(str(path), photos)
    label_file = write_labels(tmp_path, "set", "000000", label_table(ids_of("set", "000000", photos)))
    index = index_labels(dict([label_file]), list_shards(str(path)), 0.0)
    config = TrainDataConfig(global_batch=1, lanes=1, augment=AugmentConfig(enabled=False))
    (batch,) = of_skel(open_epoch(config, index, 0))
    return batch


def test_what_reaches_the_loss(batch: TrainBatch) -> None:
    np.testing.assert_array_equal(batch.keypoints_2d[0, :, 2].numpy(), COUNTED)
    np.testing.assert_array_equal(batch.keypoints_3d[0, :, 3].numpy(), COUNTED)


def test_no_point_pulls_the_wrong_way(batch: TrainBatch) -> None:
    """With a confidence of -1 the loss fell as the prediction moved away."""
    q, places = batch.q, batch.keypoints_2d[..., :2]
    rest = torch.zeros(1, 3)
    predicted = HsmrOutput(q, batch.betas, rest, rest, torch.zeros(1, 24, 6), q_to_rotations(q))
    moved = [PosedKeypoints(torch.zeros(1, 44, 3), places + away) for away in (0.0, 0.1, 1.0, 10.0)]
    losses = [loss_terms(predicted, posed, batch).keypoints_2d.item() for posed in moved]
    assert losses == sorted(losses)
    assert losses[0] == 0
    assert losses[2] == pytest.approx(2 * COUNTED.sum(), rel=1e-5)


def test_not_finite_is_absent() -> None:
    points = np.zeros((44, 3), np.float32)
    points[0, 2], points[1, 2], points[2] = np.nan, np.inf, (np.nan, 0, 1)
    assert not keypoints_in_crop(points, crop_transform(np.zeros(2), 4.0)).any()
    assert not keypoints_3d_in_crop(np.column_stack([np.zeros(44), points]).astype(np.float32), PLAIN).any()


def test_extreme_crops_see_what_counts() -> None:
    """A doubtful or negative point neither stretches a part's box nor says that the person shows it."""
    rng = np.random.default_rng(0)
    keypoints = np.column_stack([rng.uniform(100, 200, (44, 2)), np.ones(44)]).astype(np.float32)
    box, drawn = Box(np.array([150.0, 150.0]), np.array([120.0, 120.0])), 0.1  # to the hips
    keypoints[[0, 1], 2] = 0
    expected = extreme_crop(keypoints, box, drawn)
    for confidence in (0.1, -1.0, np.nan):
        keypoints[[0, 1]] = (900, 900, confidence)
        found = extreme_crop(keypoints, box, drawn)
        np.testing.assert_array_equal([found.center, found.size], [expected.center, expected.size])
    keypoints[10:15, 2] = keypoints[25:31, 2] = 0.2  # no leg is seen: an upper body has no crop to the hips
    upper = keypoints.copy()
    upper[10:15, 2] = upper[25:31, 2] = 0
    a, b = extreme_crop(keypoints, box, drawn), extreme_crop(upper, box, drawn)
    np.testing.assert_array_equal([a.center, a.size], [b.center, b.size])
