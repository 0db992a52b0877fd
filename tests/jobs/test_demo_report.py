"""What the demo reports of cameras: the rounds under HSMR's, and people by what is known of theirs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from jobs.demo_report import camera_table, rounds_under_hsmr
from pipeline.body import load_skel
from pipeline.demo_set import label_errors, make_demo_set


def test_rounds_under_hsmrs_camera_stand_beside_the_others(tmp_path: Path) -> None:
    skel = load_skel()
    data = make_demo_set(tmp_path / "demo", people=9, shards=1, skel=skel)
    truth = pq.read_table(data.truth_path)
    tables = rounds_under_hsmr(data, None)
    assert [set(table["camera_source"].drop_null().to_pylist()) for table in tables] == [{"hsmr"}, {"hsmr"}]
    errors = [label_errors(table, truth, skel) for table in tables]
    assert np.mean(errors[1]["mpjpe_mm"].to_numpy()) < np.mean(errors[0]["mpjpe_mm"].to_numpy())

    known = ["exif"] * 4 + ["prior"] * 5
    labels = truth.drop_columns(["q", "betas", "cam_t"]).append_column("camera_source", pa.array(known))
    table = camera_table((0, 1), labels, errors, errors)
    console = Console(width=110, record=True, file=(tmp_path / "log").open("w"))
    console.print(table)
    rows = {words[0]: words for line in console.export_text().splitlines() if (words := line.split())}
    assert int(rows["exif"][1]) + int(rows["prior"][1]) == int(rows["all"][1]) == errors[0].num_rows
    assert "calibration" not in rows, "nobody has such a camera"
    assert float(rows["all"][2]) == np.round(errors[0]["mpjpe_mm"].to_numpy().mean(), 2)
    assert rows["all"][2:8] == rows["all"][8:14], "the same errors, under hsmr"
