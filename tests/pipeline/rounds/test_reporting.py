"""A round writes its report when it is published, and stands whatever becomes of it."""

from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from pipeline.labels.files.layout import report_file
from pipeline.rounds import reporting
from pipeline.rounds.driver import run_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from tests.pipeline.rounds.made_shards import make_samples, write_shards

pytestmark = pytest.mark.usefixtures("local_ray")


def test_a_round_writes_its_report_and_stands_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shards = write_shards(tmp_path / "made", make_samples(4), 1)
    quiet = [f"storage.root={tmp_path}/labels", "run.progress=false", "fit.device=cpu", "run.actors=1"]
    store = LabelStore(str(tmp_path / "labels"))

    run_round(0, load_config(RoundConfig, [*quiet, f"data.shards={shards}"]))
    page = store.storage.read(report_file(0, store.generation(0).snapshot_id)).decode()
    assert "Round 0 has a label for 75.0% of 4 people" in page
    assert page.count('<img src="data:') == 2 * 3 * 3  # worst and by lot; photo, label, side view of those with a label

    def fail(*_: object) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr(reporting, "write_round_report", fail)
    done = run_round(1, load_config(RoundConfig, quiet))
    assert done.generation.round == 1
    assert "report could not be written: OSError: the disk is full. Make it by python" in caplog.text
    assert store.storage.names("reports/round=00001") == []

    monkeypatch.undo()
    assert run_round(1, load_config(RoundConfig, quiet)).already_published
    assert store.storage.names("reports/round=00001") == []  # only a run that publishes makes one
    run_round(2, load_config(RoundConfig, [*quiet, "run.report=false"]))
    assert store.storage.names("reports/round=00002") == []
