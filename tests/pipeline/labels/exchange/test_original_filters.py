"""Exports are such that the original trains on them: its own filters, stated again, keep what we count in full."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.demo_set import make_demo_set
from pipeline.labels import LabelStore
from pipeline.labels.exchange.fitting_loss import TAKEN_BELOW_IN_NPZ, TAKEN_BELOW_IN_TARS, fitting_loss
from pipeline.labels.exchange.hsmr_npz import export_npz
from pipeline.labels.exchange.hsmr_tars import export_tars
from pipeline.labels.exchange.label_sources import NpzSource, TarLabels
from pipeline.rounds.driver import run_round
from pipeline.rounds.import_round import import_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from pipeline.shards import list_shards
from pipeline.shards.raw_samples import raw_samples
from schemas.labels import POOR_FIT_MM, Decision, StartSource
from tests.pipeline.labels.exchange.original_filters import (
    BETAS_BOUND,
    PRIOR_BOUND,
    PVE_BOUND,
    taken_from_npz,
    taken_from_tar,
)

pytestmark = pytest.mark.usefixtures("local_ray")

PEOPLE, ROUNDS, KEPT = 48, 2, 0.99
Who = tuple[str, int]


def settings(root: Path | str, *overrides: str) -> RoundConfig:
    quiet = [f"storage.root={root}", "run.progress=false", "run.report=false", "fit.device=cpu", "run.actors=1"]
    return load_config(RoundConfig, [*quiet, *overrides])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """Rounds 0 and 1 of a small demo set, without a network."""
    folder = tmp_path_factory.mktemp("demo")
    made = make_demo_set(folder / "demo", people=PEOPLE, shards=2, seed=5)
    for round in range(ROUNDS):
        run_round(round, settings(folder / "labels", f"data.shards={made.shard_pattern}"))
    return LabelStore(str(folder / "labels"))


def valid(store: LabelStore, round: int) -> dict[Who, dict]:
    """The rows that we count in full."""
    return {
        (row["key"], row["person"]): row
        for row in store.read_all(round).to_pylist()
        if row["has_label"] and not (row["start_source"] == StartSource.SMPL and row["pve_max_mm"] > POOR_FIT_MM)
    }


def exported_people(store: LabelStore, round: int, folder: Path) -> Iterator[tuple[Who, dict]]:
    list(export_tars(store, round, str(folder)))
    for info in list_shards(f"{folder}/demo/*.tar"):
        for sample in raw_samples(info):
            for number, person in enumerate(pickle.loads(sample.parts["data.pyd"])):
                yield (sample.key, number), person


@pytest.mark.parametrize("round", range(ROUNDS))
def test_the_original_trains_on_exported_tars(demo: LabelStore, round: int, tmp_path: Path) -> None:
    ours = valid(demo, round)
    for prefix in ("orig", "flip"):
        taken = {who for who, person in exported_people(demo, round, tmp_path) if taken_from_tar(person, prefix)}
        assert taken <= ours.keys(), "labels that we do not count in full, or none at all"
        assert len(taken) >= KEPT * len(ours) > 0, f"{len(taken)} of {len(ours)}"


@pytest.mark.parametrize("round", range(ROUNDS))
def test_the_motion_prior_takes_an_exported_npz(demo: LabelStore, round: int, tmp_path: Path) -> None:
    export_npz(demo, round, f"{tmp_path}/labels.npz")
    with np.load(tmp_path / "labels.npz") as file:
        arrays = dict(file)
    people = list(zip(arrays["key"].tolist(), arrays["person"].tolist(), strict=True))
    taken = {who for who, is_taken in zip(people, taken_from_npz(arrays), strict=True) if is_taken}
    ours = valid(demo, round)
    assert taken <= ours.keys()
    assert len(taken) >= KEPT * len(ours) > 0, f"{len(taken)} of {len(ours)}"


def test_our_labels_are_within_what_the_original_takes(demo: LabelStore) -> None:
    assert all(np.abs(row["betas"]).max() <= BETAS_BOUND for row in valid(demo, 1).values())


@pytest.mark.parametrize("form", ["tars", "npz"])
def test_a_refined_generation_comes_back_as_it_was(demo: LabelStore, form: str, tmp_path: Path) -> None:
    """Its labels are far from their pseudo-labels, which is on record before and after."""
    shards = f"data.shards={demo.lineage(0).inputs[0].url.replace('000000', '{000000..000001}')}"
    if form == "tars":
        list(export_tars(demo, 1, f"{tmp_path}/tars"))
        source = TarLabels(f"{tmp_path}/tars/demo/*.tar")
    else:
        export_npz(demo, 1, f"{tmp_path}/labels.npz")
        source = NpzSource(f"{tmp_path}/labels.npz")
    import_round(0, settings(tmp_path / "labels", shards), source, LabelStore(f"{tmp_path}/labels"))
    back = LabelStore(f"{tmp_path}/labels")
    rows = {(row["key"], row["person"]): row for row in back.read_all(0).to_pylist()}
    far = 0
    for who, row in valid(demo, 1).items():
        assert rows[who]["decision"] == Decision.IMPORTED
        for name in ("q", "betas", "pve_max_mm"):
            assert rows[who][name] == row[name], name
        far += (row["pve_max_mm"] or 0) > 1000 * PVE_BOUND
    assert far > PEOPLE / 4, "else it is no test"


def test_the_field_that_the_original_filters_by() -> None:
    """A conversion has its own residual where that passes, a poor one what does not, and all others 0."""
    smpl, parent, imported = StartSource.SMPL, StartSource.PARENT, StartSource.IMPORTED
    rows = [
        (Decision.CONVERTED, smpl, 30.0, 0.03, 0.03),
        (Decision.CONVERTED, smpl, 55.0, 0.055, 0.0),
        (Decision.CONVERTED_POOR_FIT, smpl, 80.0, 0.08, 0.08),
        (Decision.CONVERTED_POOR_FIT, smpl, 40.0, 1.0, 1.0),  # by a bound of the user's own
        (Decision.KEPT_NOT_BETTER, smpl, 80.0, 0.08, 0.08),
        (Decision.KEPT_NOT_BETTER, smpl, 30.0, 0.03, 0.03),
        (Decision.IMPROVED, parent, 300.0, 0.0, 0.0),
        (Decision.FIRST_LABEL, StartSource.MEAN_POSE, None, 0.0, 0.0),
        (Decision.KEPT_NOT_BETTER, parent, 20.0, 0.0, 0.0),
        (Decision.IMPORTED, imported, 20.0, 0.02, 0.02),
        (Decision.IMPORTED, imported, 300.0, 0.0, 0.0),
        (Decision.CONVERTED, smpl, 59.99999, 0.0, 0.0),  # in float32 it would not be below the bound
    ]
    decision, start, pve, in_tars, in_npz = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {"decision": [str(d) for d in decision], "start_source": [str(s) for s in start], "pve_max_mm": pve}
    )
    np.testing.assert_allclose(fitting_loss(table, TAKEN_BELOW_IN_TARS), in_tars)
    np.testing.assert_allclose(fitting_loss(table, TAKEN_BELOW_IN_NPZ), in_npz)
    assert (TAKEN_BELOW_IN_TARS, TAKEN_BELOW_IN_NPZ) == (PVE_BOUND, PRIOR_BOUND)
