"""Rounds with body.gender=auto: each person has the label that a round of their gender alone would give them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.labels import LabelStore, OtherBodyError
from pipeline.labels.exchange.hsmr_npz import export_npz
from pipeline.labels.exchange.hsmr_tars import export_tars
from pipeline.labels.exchange.label_sources import NpzSource, TarLabels
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.actor import load_models
from pipeline.rounds.driver import run_round
from pipeline.rounds.import_task import import_shard
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardTask, process_shard
from pipeline.runtime.config import load_config
from pipeline.shards import RawSample, list_shards, write_shard
from schemas.gender import Gender, GenderChoice
from schemas.labels import LABEL_SCHEMA
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.pipeline.rounds.made_video import make_video

SAID: tuple[object, ...] = ("female", None, b"F", np.array("m"), "neutral", np.array(["female"]), "robot")
GIVEN: tuple[Gender, ...] = ("female", "male", "female", "male", "male", "female", "male")
IN_TRACK = 4  # frames
FAR = "fit.convert.poor_fit_mm=1000"  # SMPL is neutral, which this woman is not


def said(samples: Sequence[RawSample], genders: Sequence[object]) -> list[RawSample]:
    """The samples, everybody with what the data say of their gender; None: nothing."""
    return [
        replace(sample, people=[person | ({} if gender is None else {"gender": gender}) for person in sample.people])
        for sample, gender in zip(samples, genders, strict=True)
    ]


@pytest.fixture(scope="module")
def mixed() -> list[RawSample]:
    """Photos, and two films of two people."""
    photos = said(make_samples(len(SAID)), SAID)
    films = [make_video(name, np.arange(IN_TRACK), seed=seed).samples for seed, name in enumerate("ab")]
    return [*photos, *said(films[0], ["female"] * IN_TRACK), *films[1]]


class Rounds:
    """Rounds of one shard in this process, by the choice of gender."""

    def __init__(self, folder: Path, body: Path, samples: Sequence[RawSample]) -> None:
        self.path, self.body = str(folder / "made" / "000000.tar"), body
        write_shard(self.path, samples)
        (source,) = list_shards(self.path)
        self.task = ShardTask(dataset="made", shard="000000", source=source)
        self._models: dict[GenderChoice, Models] = {}

    def config(self, choice: GenderChoice, *overrides: str) -> RoundConfig:
        given = [f"body.source={self.body}", f"body.gender={choice}", "fit.temporal=true", "camera=hsmr"]
        return load_config(RoundConfig, [*given, *overrides])

    def models(self, choice: GenderChoice) -> Models:
        if choice not in self._models:
            self._models[choice] = load_models(self.config(choice), "cpu", KnownLenses(mode="hsmr"))
        return self._models[choice]

    def label(self, choice: GenderChoice, round: int, parent: pa.Table | None = None, *overrides: str) -> pa.Table:
        config = self.config(choice, *overrides)
        before = LABEL_SCHEMA.empty_table() if parent is None else parent
        return process_shard(self.task, round, before, self.models(choice), config).table


@pytest.fixture(scope="module")
def rounds(two_bodies: Path, mixed: list[RawSample], tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    return Rounds(tmp_path_factory.mktemp("mixed"), two_bodies, mixed)


def rows_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def labels(rounds: Rounds) -> dict[GenderChoice, tuple[pa.Table, pa.Table]]:
    """Rounds 0 and 1 by each choice."""
    found: dict[GenderChoice, tuple[pa.Table, pa.Table]] = {}
    choices: tuple[GenderChoice, ...] = ("male", "female", "auto")
    for choice in choices:
        zero = rounds.label(choice, 0)
        found[choice] = zero, rounds.label(choice, 1, zero)
    return found


def test_everyone_has_the_label_of_a_round_of_their_gender(
    labels: dict[GenderChoice, tuple[pa.Table, pa.Table]],
) -> None:
    for round in (0, 1):
        mixed, alone = rows_of(labels["auto"][round]), {g: rows_of(labels[g][round]) for g in ("male", "female")}
        given = dict(zip((f"made/{i:04d}" for i in range(len(GIVEN))), GIVEN, strict=True))
        for key, row in mixed.items():
            gender = given.get(key, "female" if key.startswith("a/") else "male")
            assert row["gender"] == (gender if row["has_label"] else None)
            for name, value in alone[gender][key].items():
                assert row[name] == value or np.allclose(row[name], value, rtol=1e-6, atol=1e-6), (key, name)
    one = {g: rows_of(labels[g][1]) for g in ("male", "female")}
    differ = [np.abs(np.subtract(one["male"][key]["betas"], row["betas"])).max() for key, row in one["female"].items()]
    assert min(differ) > 0.1, "the two bodies are different ones"
    assert all(row["height_m"] > 0 for row in rows_of(labels["auto"][1]).values())


def test_labels_do_not_depend_on_batches_nor_on_order(
    rounds: Rounds, mixed: list[RawSample], labels: dict[GenderChoice, tuple[pa.Table, pa.Table]], tmp_path: Path
) -> None:
    other = Rounds(tmp_path, rounds.body, list(reversed(mixed)))
    other._models = rounds._models
    zero = other.label("auto", 0, None, "fit.batch_size=2")
    one = rows_of(other.label("auto", 1, zero, "fit.batch_size=3"))
    for key, row in rows_of(labels["auto"][1]).items():
        for name in ("q", "betas", "gender", "height_m"):
            assert row[name] == one[key][name] or np.allclose(row[name], one[key][name], rtol=1e-4, atol=1e-4), key


def test_a_label_of_the_other_body_is_refused(
    rounds: Rounds, labels: dict[GenderChoice, tuple[pa.Table, pa.Table]]
) -> None:
    with pytest.raises(OtherBodyError, match=r"made/000000/made/0000 #0: female today, and a label of the male body"):
        rounds.label("auto", 1, labels["male"][0])


@pytest.mark.usefixtures("local_ray")
def test_published_rounds_say_who_has_which_body(rounds: Rounds, two_bodies: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "made", said(make_samples(len(SAID)), SAID), 2)
    root = tmp_path / "labels"

    def settings(choice: GenderChoice, *overrides: str) -> RoundConfig:
        quiet = [
            f"storage.root={root}",
            "run.progress=false",
            "run.report=false",
            "fit.device=cpu",
            "run.actors=1",
            "camera=hsmr",
        ]
        return load_config(RoundConfig, [*quiet, f"body.source={two_bodies}", f"body.gender={choice}", *overrides])

    run_round(0, settings("auto", f"data.shards={shards}"))
    store = LabelStore(str(root))
    lineage = store.lineage(0)
    assert lineage.genders == {"female": 3, "male": 3}, "a person without a label has no body"
    assert lineage.rejections == {"bad_gender": 1}
    assert set(lineage.skel_digests) == {"male", "female"}
    assert len(set(lineage.skel_digests.values())) == 2
    assert lineage.rows == len(SAID)
    counted = "SELECT gender, count(*) FROM labels GROUP BY gender ORDER BY gender NULLS LAST"
    assert store.query(0).sql(counted).fetchall() == [("female", 3), ("male", 3), (None, 1)]
    with pytest.raises(
        OtherBodyError, match=r"female and the male SKEL body, and body\.gender=male .* body\.gender=auto"
    ):
        run_round(1, settings("male"))
    check_exchange(store, rounds, tmp_path)
    changed = write_shards(tmp_path / "made", said(make_samples(len(SAID)), ["male"] * len(SAID)), 2)
    with pytest.raises(OtherBodyError, match=r"male today, and a label of the female body"):
        run_round(1, settings("auto", f"data.shards={changed}"))
    assert [item.round for item in store.rounds()] == [0]


def check_exchange(store: LabelStore, rounds: Rounds, folder: Path) -> None:
    """What leaves the store says whose body it is, and comes back to that one alone."""
    export_npz(store, 0, str(folder / "labels.npz"))
    list(export_tars(store, 0, str(folder / "tars")))
    tar = str(folder / "tars" / "made" / "000000.tar")
    (exported,) = list_shards(tar)
    task = ShardTask(dataset="made", shard="000000", source=exported)
    before = rows_of(store.read(0, "made", "000000"))
    for source in (NpzSource(str(folder / "labels.npz")), TarLabels(tar)):
        found = import_shard(
            task, 0, LABEL_SCHEMA.empty_table(), rounds.models("auto"), rounds.config("auto", FAR), source
        ).table
        for key, row in rows_of(found).items():
            assert [row[name] for name in ("gender", "q", "betas")] == [
                before[key][name] for name in ("gender", "q", "betas")
            ]
        with pytest.raises(OtherBodyError, match="male today, and a label of the female body"):
            import_shard(task, 0, LABEL_SCHEMA.empty_table(), rounds.models("male"), rounds.config("male", FAR), source)
