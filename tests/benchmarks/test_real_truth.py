"""`real-truth` on made footage in the layout of the measured one: it runs, writes its rows, and refuses other files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import real_truth
from benchmarks.footage.measured import FootageError, read_footage
from benchmarks.report import Options
from pipeline.body import Skel
from pipeline.fit.starts.mean_pose import mean_q

FOCAL_PX, WIDTH, HEIGHT, DEPTH = 1680.0, 1080, 1920, 3.5
FIELDS = {"method", "camera", "views", "pa_mpjpe_mm", "root_mpjpe_mm", "knee_median_deg", "knee_p90_deg", "spread_deg"}


@pytest.fixture
def footage(tmp_path: Path, open_skel: Skel) -> Path:
    """Two frames of one person, from the front and from the side."""
    q = mean_q()[None].repeat(2, 1).to(open_skel.dtype)
    q[1, 6] += 0.4
    with torch.no_grad():
        points = open_skel.keypoints(q, torch.zeros(2, 10, dtype=q.dtype))[:, :25].double().numpy()
    turns = [np.eye(3), np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])]
    matrix = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
    seen = np.stack([points @ turn.T + (0, 0, DEPTH) for turn in turns])
    pixels = seen @ matrix.T
    np.savez(
        tmp_path / "truth.npz",
        frames=np.arange(2),
        fps=np.array(30.0),
        points_2d=np.concatenate([pixels[..., :2] / pixels[..., 2:], np.full((2, 2, 25, 1), 0.9)], -1),
        points_3d=points,
        camera_matrix=np.stack([matrix, matrix]),
        distortion=np.zeros((2, 4)),
        rotation=np.stack(turns),
        translation=np.tile((0.0, 0.0, DEPTH), (2, 1)),
    )
    return tmp_path


def test_it_prints_a_table_and_writes_rows(footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real_truth.run(Options(quick=True, data=footage, json=footage / "rows.json"))
    rows = json.loads((footage / "rows.json").read_text())
    assert all(row.keys() >= FIELDS for row in rows)
    methods = {(row["method"], row["camera"]): row for row in rows}
    assert "all views at once" in capsys.readouterr().out
    assert methods["all views at once", "true"]["pa_mpjpe_mm"] < 15
    told, constant = methods["robust", "true"], methods["robust", "hsmr"]
    assert told["pa_mpjpe_mm"] < constant["pa_mpjpe_mm"], "the true camera helps"


def test_a_file_of_another_layout_is_refused(footage: Path) -> None:
    with np.load(footage / "truth.npz") as stored:
        values = dict(stored)
    np.savez(footage / "truth.npz", **values | {"rotation": values["rotation"][:1]})
    with pytest.raises(FootageError, match="rotation has shape"):
        read_footage(footage)
    del values["points_3d"]
    np.savez(footage / "truth.npz", **values)
    with pytest.raises(FootageError, match="no field 'points_3d'"):
        read_footage(footage)
    with pytest.raises(FootageError, match=r"truth\.npz is not there"):
        read_footage(footage / "elsewhere")
