"""Rounds over video: smoother labels than frame by frame, the same after a death, whatever else the shard holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.labelling.predictor import Guess
from pipeline.labels import LabelStore, vectors
from pipeline.labels.files.columns import figures
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.actor import load_models
from pipeline.rounds.driver import run_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardLabels, ShardTask, process_shard
from pipeline.runtime.config import load_config
from pipeline.shards import RawSample, list_shards, write_shard
from schemas.gender import DEFAULT_GENDER
from schemas.labels import LABEL_SCHEMA
from schemas.person import Photo, RejectionReason
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.pipeline.rounds.made_video import MadeVideo, make_video
from tests.pipeline.rounds.process_killer import ReaderKiller

FRAMES = np.delete(np.arange(24), [9, 10])  # with a gap


def settings(root: Path, *overrides: str) -> RoundConfig:
    quiet = [
        f"storage.root={root}",
        "run.progress=false",
        "run.report=false",
        "fit.device=cpu",
        "fit.batch_size=8",
        "run.actors=2",
    ]
    return load_config(RoundConfig, [*quiet, *overrides])


@pytest.fixture(scope="module")
def video() -> MadeVideo:
    return make_video("clip", FRAMES, seed=1)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(RoundConfig(), "cpu", KnownLenses(mode="hsmr"))


@dataclass(frozen=True)
class Labelled:
    """A shard's labels of rounds 0 and 1."""

    zero: pa.Table
    one: ShardLabels


def label(folder: Path, samples: Sequence[RawSample], models: Models, *overrides: str) -> Labelled:
    """Rounds 0 and 1 of one shard in this process, without a store."""
    path = folder / "made" / "000000.tar"
    write_shard(str(path), samples)
    task = ShardTask(dataset="made", shard="000000", source=list_shards(str(path))[0])
    config = settings(folder, "fit.temporal=true", *overrides)
    zero = process_shard(task, 0, LABEL_SCHEMA.empty_table(), models, config).table
    return Labelled(zero, process_shard(task, 1, zero, models, config))


def of_clip(table: pa.Table, name: str = "clip") -> dict[int, np.ndarray]:
    """frame -> (q, betas) of a clip's labels."""
    joined = np.concatenate([vectors(table["q"]), vectors(table["betas"])], 1)
    keys = [key.split("/") for key in table["key"].to_pylist()]
    return {int(frame): row for (clip, frame), row in zip(keys, joined, strict=True) if clip == name}


def jitter_mm(table: pa.Table, video: MadeVideo, models: Models) -> float:
    """Mean error of the joints' acceleration, mm per frame squared, over three frames in a row."""
    labels = of_clip(table)
    found = torch.as_tensor(np.stack([labels[frame] for frame in video.frames])).double()
    shape = torch.as_tensor(video.betas).float().repeat(len(video.pose), 1)
    true = models.fits[DEFAULT_GENDER].converter.fit(torch.as_tensor(video.pose).float(), shape)
    skel = models.fits[DEFAULT_GENDER].skel
    away = skel.joints(found[:, :46], found[:, 46:]) - skel.joints(true.q, true.betas)
    away = away - away[:, :1]
    rows = np.flatnonzero(video.frames[2:] - video.frames[:-2] == 2)
    return float((away[rows + 2] - 2 * away[rows + 1] + away[rows]).norm(dim=-1).mean()) * 1000


@pytest.fixture(scope="module")
def labelled(video: MadeVideo, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return label(tmp_path_factory.mktemp("whole"), video.samples, models)


@pytest.mark.usefixtures("local_ray")
def test_rounds_on_ray_survive_a_death_and_pass_the_audit(video: MadeVideo, labelled: Labelled, tmp_path: Path) -> None:
    """The actor that reads the video is killed; the labels are those of an undisturbed run of this shard alone."""
    shards = write_shards(tmp_path / "made", [*video.samples, *make_samples(len(video.samples))], 2)
    quiet = ["camera=hsmr", "fit.temporal=true", "run.actors=1"]
    run_round(0, settings(tmp_path / "labels", f"data.shards={shards}", *quiet))
    with ReaderKiller(shards.replace("{000000..000001}", "000000"), kills=1) as killer:
        run_round(1, settings(tmp_path / "labels", *quiet))
    assert killer.killed == 1
    store = LabelStore(str(tmp_path / "labels"))
    assert store.generation(1).rows == 2 * len(video.samples)
    found, expected = (t.sort_by("key") for t in (store.read(1, "made", "000000"), labelled.one.table))
    assert found["key"].to_pylist() == expected["key"].to_pylist()
    assert found["decision"].to_pylist() == expected["decision"].to_pylist()
    for column in ("q", "betas"):
        np.testing.assert_allclose(vectors(found[column]), vectors(expected[column]), atol=1e-4, err_msg=column)


def test_jitter_is_lower_than_frame_by_frame(
    video: MadeVideo, models: Models, labelled: Labelled, tmp_path: Path
) -> None:
    alone = label(tmp_path, video.samples, models, "fit.temporal=false")
    before, single, smooth = (
        jitter_mm(table, video, models) for table in (labelled.zero, alone.one.table, labelled.one.table)
    )
    print(f"\njitter mm/frame^2: round 0 {before:.1f}, round 1 frame by frame {single:.1f}, as a track {smooth:.1f}")
    assert smooth < 0.5 * single
    assert smooth < 0.5 * before
    improved = [row for row in labelled.one.table.to_pylist() if row["decision"] == "improved"]
    assert len(improved) > len(FRAMES) / 2
    assert len({tuple(row["betas"]) for row in improved}) == 1, "one shape for all that were replaced"
    assert all(row["kp2d_error"] < row["parent_kp2d_error"] for row in improved)
    assert all(row["energy"] < row["parent_energy"] for row in improved)
    kept = [row for row in labelled.one.table.to_pylist() if row["decision"].startswith("kept")]
    assert all(row["energy"] == row["parent_energy"] for row in kept)


def test_a_frame_of_a_track_weighs_more_than_alone(
    video: MadeVideo, models: Models, labelled: Labelled, tmp_path: Path
) -> None:
    """Its energy counts its share of the motion: a parent that jitters is less probable than it is frame by frame."""
    alone = label(tmp_path, video.samples, models, "fit.temporal=false").one.table.sort_by("key")
    together = labelled.one.table.sort_by("key")
    single, motion = (figures(table["parent_energy"]) for table in (alone, together))
    assert np.isfinite(single).all()
    assert np.isfinite(motion).all()
    inside = slice(1, -1)  # the ends have no acceleration
    assert (motion - single)[inside].mean() > 10


def test_who_shares_the_shard_and_in_what_order_changes_nothing(
    video: MadeVideo, models: Models, labelled: Labelled, tmp_path: Path
) -> None:
    other = make_video("other", np.arange(7), seed=2)
    mixed = [*reversed(video.samples), *make_samples(5), *other.samples]
    mixed = [mixed[i] for i in np.random.default_rng(0).permutation(len(mixed))]
    found = label(tmp_path, mixed, models, "fit.batch_size=3")
    assert found.one.readable == found.one.table.num_rows == len(mixed)
    expected, got = of_clip(labelled.one.table), of_clip(found.one.table)
    assert max(np.abs(got[frame] - expected[frame]).max() for frame in expected) < 1e-4


def test_bad_frames_are_recorded_and_cost_only_themselves(
    video: MadeVideo, models: Models, labelled: Labelled, tmp_path: Path
) -> None:
    """Points that are not finite, a photo without people, one frame number twice, a frame rate that cannot be."""
    samples = [RawSample(key=s.key, jpeg=s.jpeg, people=[dict(p) for p in s.people]) for s in video.samples]
    samples[3].people[0]["keypoints_2d"] = np.full((44, 3), np.nan, np.float32)
    samples[5] = RawSample(key=samples[5].key, jpeg=samples[5].jpeg, people=[])
    samples[8].people[0]["extra_info"] = dict(samples[7].people[0]["extra_info"])
    samples[15].people[0]["extra_info"] |= {"fps": float("inf")}
    found = label(tmp_path, samples, models)
    reasons = {(r.key, r.reason) for r in found.one.rejections}
    twice = RejectionReason.DUPLICATE_FRAME
    assert reasons == {
        (samples[3].key, RejectionReason.KEYPOINTS_NOT_FINITE),
        (samples[7].key, twice),
        (samples[8].key, twice),
        (samples[15].key, RejectionReason.BAD_FRAME_RATE),
    }
    assert found.one.table.num_rows == len(samples) - 1
    rows = {row["key"]: row for row in found.one.table.to_pylist()}
    assert rows[samples[3].key]["decision"] == "kept_too_few_keypoints"
    assert all(np.isfinite(row["q"]).all() for row in rows.values())
    whole, broken = of_clip(labelled.one.table), of_clip(found.one.table)
    far = int(FRAMES[-2])
    assert np.abs(whole[far] - broken[far])[:46].max() < 0.15, "frames elsewhere hardly notice"


def test_a_long_track_is_fitted_in_parts(video: MadeVideo, models: Models, labelled: Labelled, tmp_path: Path) -> None:
    found = label(tmp_path, video.samples, models, "fit.track.max_frames=12", "fit.batch_size=5")
    assert sorted(found.one.table["key"].to_pylist()) == sorted(labelled.one.table["key"].to_pylist())
    assert jitter_mm(found.one.table, video, models) < 0.6 * jitter_mm(found.zero, video, models)


class TrueGuesses:
    """A predictor that nearly knows: the converted truth, each frame 0.05 rad off."""

    def __init__(self, video: MadeVideo, models: Models) -> None:
        shape = torch.as_tensor(video.betas).float().repeat(len(video.pose), 1)
        true = models.fits[DEFAULT_GENDER].converter.fit(torch.as_tensor(video.pose).float(), shape)
        rng = np.random.default_rng(4)
        std = np.full(46, 0.05, np.float32), np.full(10, 1.0, np.float32)
        q = true.q.numpy() + rng.normal(0, 0.05, true.q.shape)
        camera = np.array([0.0, 0.0, 45.0], np.float32)
        self._guesses = {
            sample.key: Guess(q[i].astype(np.float32), true.betas[i].float().numpy(), camera, *std)
            for i, sample in enumerate(video.samples)
        }

    def predict(self, photos: Sequence[Photo]) -> list[Guess]:
        return [self._guesses[photo.key] for photo in photos for _ in photo.people]


def test_predictions_start_tracks_too(video: MadeVideo, models: Models, labelled: Labelled, tmp_path: Path) -> None:
    predicting = replace(models, predictor=TrueGuesses(video, models))
    found = label(tmp_path, video.samples, predicting)
    sources = found.one.table["start_source"].to_pylist()
    assert sources.count("prediction") >= 3
    assert jitter_mm(found.one.table, video, models) < 0.5 * jitter_mm(found.zero, video, models)
