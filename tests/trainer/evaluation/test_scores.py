"""Errors by the protocols, against the original's numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from trainer.evaluation.output_bodies import Surface
from trainer.evaluation.rows import ROW_SCHEMA
from trainer.evaluation.scores import SCORED_3D, box_errors, keypoint_scores, surface_scores
from trainer.evaluation.summary import set_pck

TOLERANCE = {"rtol": 0, "atol": 1e-3}  # mm


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, torch.Tensor]:
    with np.load(golden_dir / "metrics.npz", allow_pickle=False) as arrays:
        numbers = {name: arrays[name] for name in arrays.files if arrays[name].dtype.kind in "fiu"}
    return {name: torch.as_tensor(array).double() for name, array in numbers.items()}


def test_3dpw_and_h36m(golden: dict[str, torch.Tensor]) -> None:
    assert list(SCORED_3D) == golden["hmr2_keypoint_list"].int().tolist()
    found = keypoint_scores(golden["hmr2_pd_kp3d"], golden["hmr2_gt_kp3d"][..., :3])
    for name in ("mpjpe_mm", "pa_mpjpe_mm"):
        torch.testing.assert_close(found[name], golden[f"hmr2_{name}"], **TOLERANCE)


def test_moyo(golden: dict[str, torch.Tensor]) -> None:
    """The original's figures are of joints and vertices that have been moved to joint 0 before."""
    predicted = Surface(golden["pd_joints"], golden["pd_verts"])
    truth = Surface(golden["gt_joints"], golden["gt_verts"])
    found = surface_scores(predicted, truth)
    torch.testing.assert_close(found["pa_mpjpe_mm"], golden["pa_mpjpe_mm"], **TOLERANCE)
    torch.testing.assert_close(found["pa_mpvpe_mm"], golden["pa_mpve_mm"], **TOLERANCE)
    own, true = (Surface(s.joints - s.joints[:, :1], s.vertices - s.joints[:, :1]) for s in (predicted, truth))
    for points, name in (("joints", "mpjpe_mm"), ("vertices", "mpvpe_mm")):
        apart = (getattr(own, points) - getattr(true, points)).norm(dim=-1).mean(1) * 1000
        torch.testing.assert_close(found[name], apart, **TOLERANCE)
    at_root = surface_scores(
        Surface(golden["pd_joints"] - golden["pd_joints"][:, :1] + 7, golden["pd_verts"]),
        Surface(golden["pd_joints"] - golden["pd_joints"][:, :1] - 2, golden["pd_verts"]),
    )
    assert at_root["mpjpe_mm"].abs().max() < 1e-9
    torch.testing.assert_close(at_root["mpvpe_mm"], torch.full((10,), 9 * 3**0.5 * 1000).double())


def test_pck_over_the_set(golden: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.summary.THRESHOLDS", tuple(golden["pck_thresholds"].tolist()))
    unit = golden["pck_box_size"] / (200 * golden["pck_scale"]).amax(-1)
    errors, valid = box_errors(golden["pck_pd_kp2d"], golden["pck_gt_kp2d"], unit)
    assert not valid[:, 38].any()  # whose confidence is 0.5 exactly
    values = [
        [e if v else None for e, v in zip(*row, strict=True)]
        for row in zip(errors.tolist(), valid.tolist(), strict=True)
    ]
    column = pa.array(values, ROW_SCHEMA.field("keypoint_error_box").type)
    found = set_pck(pa.table({"keypoint_error_box": column}))
    assert found is not None
    np.testing.assert_allclose(found.per_keypoint.nan_to_num(-1), golden["pck_per_keypoint"], atol=1e-7)
    np.testing.assert_allclose(found.mean, golden["pck_avg"], atol=1e-7)
    assert found.valid_keypoints == int(golden["pck_valid_keypoints"][0])
