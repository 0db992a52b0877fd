"""Every row of a generation names the group of its photo, whatever became of its label."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.actor import load_models
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardTask, process_shard
from pipeline.shards import RawSample, list_shards, write_shard
from schemas.labels import LABEL_SCHEMA
from tests.pipeline.rounds.made_shards import make_samples

CONFIG = RoundConfig()


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(CONFIG, "cpu", KnownLenses())


def filmed(sample: RawSample, frame: int) -> RawSample:
    (who,) = sample.people
    return replace(sample, key=f"film/{frame:03d}", people=[who | {"extra_info": {"track_id": "who", "frame": frame}}])


def task(folder: Path, dataset: str, content: list[RawSample]) -> ShardTask:
    path = folder / dataset / "000000.tar"
    write_shard(str(path), content)
    (source,) = list_shards(str(path))
    return ShardTask(dataset=dataset, shard="000000", source=source)


def groups(table: pa.Table) -> dict[str, int]:
    return dict(zip(table["key"].to_pylist(), table["photo_group"].to_pylist(), strict=True))


def test_groups_are_those_of_the_photos_in_every_round(models: Models, tmp_path: Path) -> None:
    photos = make_samples(6)  # the fourth has no label
    copies = [replace(photo, key=f"copy/{i}") for i, photo in enumerate(photos[::-1])]
    film = [filmed(photo, i) for i, photo in enumerate(make_samples(3, seed=1))]
    first = process_shard(task(tmp_path, "a", photos + film), 0, LABEL_SCHEMA.empty_table(), models, CONFIG).table
    second = process_shard(task(tmp_path, "b", copies), 0, LABEL_SCHEMA.empty_table(), models, CONFIG).table
    of_photo, of_copy = groups(first), groups(second)
    assert None not in of_photo.values()
    assert [of_photo[photo.key] for photo in photos] == [of_copy[copy.key] for copy in copies[::-1]]
    assert len({of_photo[photo.key] for photo in photos}) == 6
    assert len({of_photo[photo.key] for photo in film}) == 1

    tracks = replace(CONFIG, fit=replace(CONFIG.fit, temporal=True))  # people come in another order, film last
    shuffled = task(tmp_path / "again", "a", [*film, *photos[:4]])
    refined = process_shard(shuffled, 1, first, models, tracks)
    assert refined.readable == 7
    assert groups(refined.table) == of_photo, "who is no longer there keeps the group of before"
