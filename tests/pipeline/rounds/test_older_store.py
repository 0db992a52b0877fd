"""A store that the code before the move of the modules wrote is read, resumed and rolled back."""

import fcntl
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from pipeline.labels.upkeep.relocate import relocate
from pipeline.labels.upkeep.rollback import rollback
from pipeline.rounds.driver import resolved_plan, run_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from schemas.labels import LABEL_SCHEMA
from tests.repository import ROOT

pytestmark = pytest.mark.usefixtures("local_ray")
ARCHIVE = ROOT / "tests" / "fixtures" / "store_before_the_move" / "store.tar.gz"
WRITTEN_AT = Path("/tmp/skel-label-rounds-store-before-the-move")  # Iceberg's metadata holds absolute paths


@pytest.fixture
def older(tmp_path: Path) -> Iterator[LabelStore]:
    """Unpacked where it was written, by one process at a time, and moved from there into a folder of this test."""
    with WRITTEN_AT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(WRITTEN_AT, ignore_errors=True)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(WRITTEN_AT, filter="data")
        moved = LabelStore(str(tmp_path / "labels"))
        relocate(LabelStore(f"{WRITTEN_AT}/labels"), moved, move=False)
        yield moved
        shutil.rmtree(WRITTEN_AT)


def settings(store: LabelStore) -> RoundConfig:
    quiet = [f"storage.root={store.storage.root}", "run.progress=false", "fit.device=cpu", "run.actors=1"]
    return load_config(RoundConfig, quiet)


def test_it_is_read(older: LabelStore) -> None:
    assert [generation.round for generation in older.rounds()] == [0, 1]
    labels = older.read_all(1)
    assert labels.num_rows == 6
    assert labels.schema.equals(LABEL_SCHEMA)
    count = "SELECT count(*) FROM labels"
    assert older.query().sql(count).fetchall() == [(12,)]
    assert older.lineage(1).code_revision == "04a4d8e"


def test_a_round_that_was_killed_goes_on_where_it_was(older: LabelStore) -> None:
    run_ids = json.loads((WRITTEN_AT / "run_ids.json").read_text())
    assert [generation.run_id for generation in older.rounds()] == run_ids[:2]
    assert resolved_plan(2, settings(older), older, None, None).run_id == run_ids[2], "run_ids are as before"
    done = run_round(2, settings(older))
    assert (done.run_id, done.reused, done.computed) == (run_ids[2], 1, 1)
    assert older.generation(2).rows == 6


def test_it_is_rolled_back(older: LabelStore) -> None:
    assert rollback(older, 0, "tried") == [1]
    assert [generation.round for generation in older.rounds()] == [0]
    run_round(1, settings(older))
    assert older.read_all(1).num_rows == 6
