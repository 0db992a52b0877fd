"""The report on a training run: what it shows, what it leaves out, and that no run is lost by it."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.inspect_labels import main
from pipeline.labels import LabelStore, Storage
from pipeline.storage.opening import open_storage
from tests.pipeline.labels.label_tables import publish_rounds
from tests.pipeline.report.test_page import Tags
from tests.trainer.networks import SMALL
from trainer.checkpoint import CheckpointError, CheckpointInfo, checkpoint_info, save_checkpoint
from trainer.network.hsmr import Hsmr
from trainer.training import training_report as module
from trainer.training.metrics_files import write_metrics
from trainer.training.record import TrainingRecord, run_folder, write_record
from trainer.training.training_report import report_training, training_report, training_report_file

RUN = "0123456789ab"
HISTORY = tuple(
    {"step": float(step), "epoch": 1.0, "people": 8.0, "mpjpe_mm": 300.0 - step, "kp2d_error_px": 40.0 - step}
    for step in (2, 4)
)

LOSSES = (3.0, 2.0, float("nan"), 1.0)


def record() -> TrainingRecord:
    return TrainingRecord(
        round=0, training_id=RUN, snapshot_id=7, status="finished", variant="tiny", config="a: 1\n", config_digest="c",
        body_digest="b", code_revision="r", init_uri=None, init_digest=None, started="2026-01-01T00:00:00+00:00",
        stopped_because="schedule.max_steps=4", steps=4, epochs=1, best=HISTORY[1], history=HISTORY,
        best_checkpoint=f"{run_folder(0, RUN)}/step-0000004.safetensors", data_counts={"rows": 60, "used": 50},
    )  # fmt: skip


def write_run(storage: Storage, done: TrainingRecord) -> None:
    """The files that a run leaves: curves, pictures, the best checkpoint."""
    write_metrics(
        storage, round=0, training_id=RUN, snapshot_id=7, losses=[3.0, 2.0, float("nan"), 1.0], history=HISTORY
    )
    for step in (2, 4):
        sink = io.BytesIO()
        Image.fromarray(np.full((40, 80, 3), 50 * step, np.uint8)).save(sink, "PNG")
        storage.write(f"{run_folder(0, RUN)}/held_out/step-{step:07d}.png", sink.getvalue())
    torch.manual_seed(0)
    info = CheckpointInfo(
        variant="tiny", generation_snapshot_id=7, round=0, step=4, body_digest="b", config="", code_revision="r",
        q_std=(0.1,) * 46, betas_std=(1.0,) * 10, spread_factors=(1.5,) * 46, population_std=(0.4,) * 56,
    )  # fmt: skip
    assert done.best_checkpoint is not None
    save_checkpoint(storage, done.best_checkpoint, Hsmr(SMALL), info)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    found = open_storage(str(tmp_path_factory.mktemp("training")))
    write_run(found, record())
    return found


def test_a_report_has_curves_pictures_errors_and_calibration(storage: Storage) -> None:
    page = Tags(training_report(storage, record()))
    assert "held-out mpjpe went from 298.0 to 296.0 mm, best at step 4, on 8 people" in page.text
    for title in ("Curves", "Held-out people", "Errors by joint", "Calibration", "Lineage"):
        assert title in page.text
    assert [tag for tag, _ in page.tags].count("img") == 2
    assert "step 4, the best" in page.text
    assert "0.25" in page.text  # an error of 0.1 rad where people differ by 0.4
    assert '"data":[[1.0,3.0],[2.0,2.0],[4.0,1.0]]' in page.scripts[0]  # a loss that was not finite is no point


def test_what_is_gone_is_named(tmp_path: Path) -> None:
    page = Tags(training_report(open_storage(str(tmp_path)), record()))
    assert "The best checkpoint cannot be read: there is no checkpoint file" in page.text
    assert "Held-out people" not in page.text


def test_nobody_held_out(storage: Storage) -> None:
    done = replace(record(), best={}, history=(), best_checkpoint=None)
    assert "nobody is held out" in Tags(training_report(storage, done)).text


def test_hostile_words_are_inert(storage: Storage) -> None:
    word = "</script><img src=x onerror=alert(1)>"
    page = Tags(training_report(storage, replace(record(), stopped_because=word, code_revision=word, config=word)))
    assert page.text.count(word) == 4  # the reason twice, in words and as a fact
    assert [tag for tag, _ in page.tags].count("script") == 3


def test_a_run_is_not_lost_by_its_report(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report_training(storage, record())
    assert storage.read(training_report_file(record())).startswith(b"<!doctype html>")

    def fail(*_: object) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr(module, "write_training_report", fail)
    report_training(storage, record())
    assert "report could not be written: OSError: the disk is full. Make it by python" in caplog.text
    assert f"report 0 --training {RUN}" in caplog.text


def test_the_command_makes_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 1)
    where = f"storage.root={store.storage.root}"
    assert main(["report", "0", "--training", "--output", "x.html", where]) == 1
    assert "Round 0 has no training run; on record: none." in capsys.readouterr().err
    write_record(store.storage, record())
    assert main(["report", "0", "--training", where]) == 0
    assert capsys.readouterr().out.strip() == store.storage.url(training_report_file(record()))
    assert main(["report", "0", "--training", "other", where]) == 1
    assert f"has no training run other; on record: {RUN}" in capsys.readouterr().err
    assert main(["report", "0", "--training", RUN, "--against", "0", where]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_the_header_of_a_checkpoint_is_read_without_its_weights(storage: Storage, tmp_path: Path) -> None:
    name = record().best_checkpoint
    assert name is not None
    assert checkpoint_info(storage.url(name)).spread_factors == (1.5,) * 46
    for number, data in enumerate((b"", b"\xff" * 100, b"\x02" + bytes(7) + b"{}")):
        (tmp_path / f"{number}").write_bytes(data)
        with pytest.raises(CheckpointError, match="is no checkpoint of this project"):
            checkpoint_info(f"{tmp_path}/{number}")
