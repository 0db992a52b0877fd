"""SMPL against the numbers of smplx (tests/golden/README.md, smpl_forward.npz)."""

from pathlib import Path

import pytest
import torch

from pipeline.body import Smpl
from tests.pipeline.body.standin import Golden


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 5e-6)])
def test_posed_body(golden_dir: Path, standin_smpl: Smpl, dtype: torch.dtype, tolerance: float) -> None:
    golden, smpl = Golden(golden_dir / "smpl_forward.npz"), standin_smpl.to("cpu", dtype)
    out = smpl(golden("axis_angle", dtype), golden("betas", dtype), golden("transl", dtype))
    for got, name in (
        (out.joints, "joints24"),
        (out.keypoints, "kp44"),
        (out.vertices[:, golden("vert_ids").long()], "vertices"),
    ):
        assert (got - golden(name, dtype)).abs().max() <= tolerance, name
