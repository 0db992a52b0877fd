"""Imports are gated, and rounds of actors like any other: resumed, quarantined, and nothing half-published."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.body import load_skel, load_smpl
from pipeline.fit import Skelify, SmplToSkel
from pipeline.labelling.acceptance import AcceptConfig
from pipeline.labelling.adopted_labels import ImportGates, import_people
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import convert_people
from pipeline.labels import LabelStore
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.import_round import Imported, import_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import ConfigError, load_config
from pipeline.shards import list_shards, read_shard
from schemas.labels import Decision
from schemas.person import Person, Photo
from tests.pipeline.rounds.made_shards import make_samples, write_shards

pytestmark = pytest.mark.usefixtures("local_ray")

PEOPLE, FAR_MM = 8, 60.0
GATES = ImportGates(accept=AcceptConfig(), far_mm=FAR_MM)
Changes = dict[str, Any]


@pytest.fixture(scope="module")
def skelify() -> Skelify:
    return Skelify(load_skel("open", dtype=torch.float64))


@pytest.fixture(scope="module")
def smpl() -> Any:
    return load_smpl("open", dtype=torch.float64)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("import") / "made", make_samples(PEOPLE), 2)


@pytest.fixture(scope="module")
def batch(shards: str) -> PersonBatch:
    photos = [item for info in list_shards(shards) for item in read_shard(info) if isinstance(item, Photo)]
    people = [person for photo in KnownLenses(mode="hsmr").of(photos) for person in photo.people]
    return PersonBatch.from_people(people)


@pytest.fixture(scope="module")
def converted(batch: PersonBatch, skelify: Skelify, smpl: Any) -> LabelBatch:
    return convert_people(batch, SmplToSkel(smpl, skelify.model))


def as_imported(converted: LabelBatch, rows: Sequence[int], **changes: Any) -> list[HsmrLabel | None]:
    """The conversions of these people as somebody's file has them, with changes."""
    found: list[HsmrLabel | None] = [None] * len(converted)
    for row in rows:
        label = HsmrLabel(q=converted.q[row], betas=converted.betas[row], pve_max=float("nan"), kp2d_err=0.0)
        found[row] = replace(label, **changes)
    return found


LEANING = np.zeros(46, np.float32)
LEANING[3] = 1.0  # rad of hip flexion
HOSTILE: list[tuple[Changes, Decision, Decision]] = [
    ({"betas": np.full(10, 5.0, np.float32)}, Decision.REFUSED_BETAS_OUT_OF_RANGE, Decision.KEPT_BETAS_OUT_OF_RANGE),
    ({"pve_max": 0.4}, Decision.REFUSED_FAR_FROM_SMPL, Decision.KEPT_FAR_FROM_SMPL),
    ({"q": LEANING}, Decision.REFUSED_FAR_FROM_SMPL, Decision.KEPT_FAR_FROM_SMPL),
    ({"q": LEANING, "pve_max": 0.01}, Decision.REFUSED_FAR_FROM_SMPL, Decision.KEPT_FAR_FROM_SMPL),
    ({"betas": np.full(10, np.inf, np.float32)}, Decision.REFUSED_NOT_FINITE, Decision.KEPT_NOT_FINITE),
]


@pytest.mark.parametrize(("changes", "refused", "kept"), HOSTILE)
def test_each_gate_says_why(
    changes: Changes,
    refused: Decision,
    kept: Decision,
    batch: PersonBatch,
    converted: LabelBatch,
    skelify: Skelify,
    smpl: Any,
) -> None:
    """Person 1 has a changed label, person 2 an honest one, nobody else any; person 3 had none before."""
    assert (converted.pve_max_mm[[1, 2]] < FAR_MM).all()
    found = as_imported(converted, [1], **changes)
    found[2] = as_imported(converted, [2])[2]
    first = import_people(batch, found, None, skelify, smpl, GATES)
    assert list(first.decision[:4]) == [Decision.NO_LABEL, refused, Decision.IMPORTED, Decision.NO_LABEL]
    assert list(first.has_label[:4]) == [False, False, True, False]
    assert first.to_table(0)["q"][1].as_py() == [0.0] * 46
    later = import_people(batch, found, converted, skelify, smpl, GATES)
    assert list(later.decision[:4]) == [
        Decision.KEPT_NOT_IMPORTED,
        kept,
        Decision.KEPT_NOT_BETTER,  # it is the very label
        Decision.NO_LABEL,
    ]
    np.testing.assert_array_equal(later.q, converted.q)


def test_a_refined_label_may_be_far_from_its_pseudo_label(
    batch: PersonBatch, converted: LabelBatch, skelify: Skelify, smpl: Any
) -> None:
    """It says so in a field of ours; people without a pseudo-label have nothing that it could be far from."""
    refined = as_imported(converted, [1], q=LEANING, pve_max=0.0, smpl_pve_max_mm=300.0)
    refined[3] = HsmrLabel(q=LEANING, betas=np.zeros(10, np.float32), pve_max=float("nan"), kp2d_err=0.0)
    labels = import_people(batch, refined, None, skelify, smpl, GATES)
    assert list(labels.decision[[1, 3]]) == [Decision.IMPORTED] * 2
    np.testing.assert_array_equal(labels.pve_max_mm[[1, 3]], [300.0, np.nan])


def test_what_the_file_does_not_say_is_measured(
    batch: PersonBatch, converted: LabelBatch, skelify: Skelify, smpl: Any
) -> None:
    labels = import_people(batch, as_imported(converted, [1, 2]), None, skelify, smpl, GATES)
    np.testing.assert_allclose(labels.pve_max_mm[1:3], converted.pve_max_mm[1:3], rtol=1e-4)
    np.testing.assert_allclose(labels.pve_mean_mm[1:3], converted.pve_mean_mm[1:3], rtol=1e-4)


class MadeSource:
    """A source that fails on one shard until it is told not to, and counts whom it was asked for."""

    uri: str = "made"
    digest: str = "0" * 64

    def __init__(self, log: Path, *, broken: str | None = None, betas: float = 0.0) -> None:
        self._log, self._broken, self._betas = log, broken, betas

    def of_shard(self, dataset: str, shard: str, people: Sequence[Person]) -> list[HsmrLabel | None]:
        with self._log.open("a") as log:
            log.write(f"{shard}\n")
        if shard == self._broken:
            raise OSError("the disk of the source is gone")
        label = HsmrLabel(
            q=np.zeros(46, np.float32),
            betas=np.full(10, self._betas, np.float32),
            pve_max=0.0,
            kp2d_err=0.0,
            smpl_pve_max_mm=float("nan"),
        )
        return [label for _ in people]


def run(root: Path, source: MadeSource, shards: str, **options: Any) -> Imported:
    config = load_config(
        RoundConfig,
        [
            f"storage.root={root}",
            f"data.shards={shards}",
            "run.progress=false",
            "run.report=false",
            "fit.device=cpu",
            "run.actors=2",
        ],
    )
    return import_round(0, config, source, LabelStore(str(root)), **options)


def test_a_shard_whose_labels_cannot_be_read_costs_that_shard_alone(shards: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run(tmp_path / "labels", MadeSource(log, broken="000001"), shards)
    assert log.read_text().split().count("000001") == 3, "attempts"
    assert done.generation.decisions == {"imported": PEOPLE // 2}
    assert (done.matched, done.people, done.computed, done.reused) == (PEOPLE // 2, PEOPLE // 2, 2, 0)
    (failed,) = LabelStore(str(tmp_path / "labels")).lineage(0).unreadable_shards
    assert failed == "made/000001"
    (sidecar,) = (tmp_path / "labels").glob("data/round=00000/run=*/dataset=made/000001.json")
    assert "given up after 3 attempts: OSError: the disk of the source is gone" in sidecar.read_text()


def test_an_import_that_was_killed_is_resumed(shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the labels of one shard were staged: it is reused, nothing was published meanwhile."""
    log, root = tmp_path / "log", tmp_path / "labels"
    import pipeline.rounds.driver as driver

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(driver, "check_matched", killed)
        with pytest.raises(KeyboardInterrupt):
            run(root, MadeSource(log), shards)
    assert LabelStore(str(root)).rounds() == []
    staged = sorted(root.glob("data/round=00000/run=*/dataset=made/000001.*"))
    for file in staged:
        file.unlink()
    log.unlink()
    done = run(root, MadeSource(log), shards)
    assert (done.reused, done.computed) == (1, 1)
    assert set(log.read_text().split()) == {"000001"}
    assert done.generation.decisions == {"imported": PEOPLE}
    assert run(root, MadeSource(log), shards).already_published


def test_nothing_is_published_when_everybody_is_refused_by_the_audit_or_nobody_matches(
    shards: str, tmp_path: Path
) -> None:
    """Refused labels are matched ones: the generation says why its people have none."""
    done = run(tmp_path / "refused", MadeSource(tmp_path / "log", betas=5.0), shards)
    assert done.generation.decisions == {"refused_betas_out_of_range": PEOPLE}
    assert done.matched == PEOPLE

    class Nobody(MadeSource):
        def of_shard(self, dataset: str, shard: str, people: Sequence[Person]) -> list[HsmrLabel | None]:
            return [None] * len(people)

    with pytest.raises(ConfigError, match="no label of anybody"):
        run(tmp_path / "nobody", Nobody(tmp_path / "log"), shards)
    assert LabelStore(str(tmp_path / "nobody")).rounds() == []
