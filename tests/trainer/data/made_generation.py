"""A small made-up generation: shards with photos of one to three people, and a label row for each of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import torch

from pipeline.image.camera import FOCAL
from pipeline.labelling.batches import LabelBatch
from pipeline.labels.files.staging import encode
from pipeline.shards import RawSample, list_shards, write_shard
from pipeline.shards.photo_group import photo_group
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER, Gender
from schemas.input_shard import ShardId
from schemas.labels import Decision
from schemas.person import PersonId
from tests.pipeline.shards.samples import person, photo_bytes
from trainer.data.batch import CropBatch, TrainBatch
from trainer.data.label_index import LabelIndex, index_labels


def samples(dataset: str, shard: int, photos: int) -> list[RawSample]:
    """Photo i has 1 + i % 3 people."""
    return [
        RawSample(
            key=f"{dataset}/{i:03d}",
            jpeg=photo_bytes(1000 * shard + i),
            people=[person(10_000 * shard + 10 * i + p) for p in range(1 + i % 3)],
        )
        for i in range(photos)
    ]


def label_table(
    ids: Sequence[PersonId],
    *,
    decisions: Sequence[Decision] | None = None,
    seed: int = 0,
    round: int = 1,
    groups: Sequence[int] | None = None,
    genders: Sequence[Gender] | None = None,
) -> pa.Table:
    """Random small angles, a row per id. NO_LABEL rows have none. groups: of their photos, as a round finds them.
    genders: of the bodies of the labels, male by default."""
    rng, count = np.random.default_rng(seed), len(ids)
    decision = np.array([d.value for d in decisions] if decisions else [Decision.IMPROVED.value] * count, dtype=object)
    error = np.full(count, 0.01)
    return LabelBatch(
        ids=tuple(ids),
        has_label=decision != Decision.NO_LABEL.value,
        q=rng.normal(0, 0.1, (count, 46)).astype(np.float32),
        betas=rng.normal(0, 1, (count, 10)).astype(np.float32),
        cam_t=np.ones((count, 3), np.float32),
        q_std=rng.uniform(0, 0.5, (count, 46)).astype(np.float32),
        anchor_q=np.zeros((count, 46), np.float32),
        anchor_betas=np.zeros((count, 10), np.float32),
        prediction_q=np.zeros((count, 46), np.float32),
        prediction_q_std=np.zeros((count, 46), np.float32),
        prediction_betas=np.zeros((count, 10), np.float32),
        prediction_betas_std=np.zeros((count, 10), np.float32),
        decision=decision,
        start_source=np.full(count, "parent", dtype=object),
        kp2d_error=error,
        parent_kp2d_error=2 * error,
        candidate_kp2d_error=error,
        kp2d_heldout_error=error,
        kp2d_heldout_in_50=error,
        kp2d_heldout_in_90=error,
        energy=error,
        parent_energy=2 * error,
        pve_mean_mm=error,
        pve_max_mm=error,
        limit_violation=0 * error,
        iterations=np.ones(count, np.int32),
        focal=np.full(count, FOCAL),
        camera_source=np.full(count, CameraSource.HSMR, object),
        camera_turn=np.zeros((count, 3), np.float32),
        height_m=np.full(count, 1.7),
        photo_group=np.zeros(count, np.int64) if groups is None else np.array(groups, dtype=np.int64),
        gender=np.array(
            [
                None if d == Decision.NO_LABEL else g
                for d, g in zip(decision, genders or [DEFAULT_GENDER] * count, strict=True)
            ],
            object,
        ),
    ).to_table(round)


def write_labels(folder: Path, dataset: str, shard: str, table: pa.Table) -> tuple[ShardId, str]:
    """A label file and its place in the plan of the store."""
    path = folder / "labels" / dataset / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(table))
    return ShardId(dataset, shard), str(path)


def ids_of(dataset: str, shard: str, photos: Sequence[RawSample]) -> list[PersonId]:
    return [PersonId(dataset, shard, photo.key, p) for photo in photos for p in range(len(photo.people))]


def make_generation(
    folder: Path,
    *,
    datasets: Sequence[str] = ("made",),
    shards: int = 3,
    photos: int = 12,
    photos_of: Mapping[str, int] = MappingProxyType({}),
    held_out_share: float = 0.0,
    folds: int = 1,
    fold: int = 0,
    unlabelled: Sequence[int] = (),
) -> LabelIndex:
    """An index over `shards` shards a data set, of `photos` photos each, the same files in every data set; photos_of:
    another number in one of them. unlabelled: rows without a label, in every shard.
    """
    files: dict[ShardId, str] = {}
    patterns: list[str] = []
    for dataset in datasets:
        for number in range(shards):
            name, content = f"{number:06d}", samples(dataset, number, photos_of.get(dataset, photos))
            path = folder / dataset / f"{name}.tar"
            write_shard(str(path), content)
            patterns.append(str(path))
            ids, groups = ids_of(dataset, name, content), groups_of(dataset, content)
            kinds = [Decision.NO_LABEL if row in unlabelled else Decision.IMPROVED for row in range(len(ids))]
            table = label_table(ids, decisions=kinds, seed=number, groups=groups)
            files.update([write_labels(folder, dataset, name, table)])
    return index_labels(files, list_shards(patterns), held_out_share, folds=folds, fold=fold)


def groups_of(dataset: str, photos: Sequence[RawSample]) -> list[int]:
    """The group of each person's photo."""
    return [photo_group(photo.jpeg, dataset, photo.key, ()) for photo in photos for _ in photo.people]


def assert_same(a: CropBatch, b: CropBatch) -> None:
    """Equal to the bit."""
    assert a.ids == b.ids
    for name in type(a).__dataclass_fields__:
        if name != "ids":
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def of_skel(batches: Iterable[CropBatch]) -> list[TrainBatch]:
    """All of them, with SKEL labels."""
    found = list(batches)
    assert all(isinstance(batch, TrainBatch) for batch in found)
    return [batch for batch in found if isinstance(batch, TrainBatch)]
