"""smplfitter (MIT, not a dependency): closed-form SMPL fits to SMPL meshes, an easier job than ours, for orientation.

It fits 24 free rotations and a shape of the same model that made the mesh; we fit another model with joint limits.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import best_seconds
from pipeline.body import load_smpl
from pipeline.body.official_export import export_official

_ITERATIONS = 3


def smplfitter_fit(pose: Tensor) -> tuple[float, float] | None:
    """(ms a frame, PVE mean mm) on open-body SMPL meshes of pose (B, 24, 3); None where smplfitter is not installed."""
    try:
        from smplfitter.pt import BodyFitter, BodyModel  # pyrefly: ignore[missing-import]
    except ImportError:
        return None
    smpl = load_smpl()
    with tempfile.TemporaryDirectory() as folder:
        export_official(folder)
        (Path(folder) / "SMPL_NEUTRAL.pkl").rename(Path(folder) / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl")
        # asked for though children are not fitted; any template will do
        np.save(Path(folder) / "kid_template.npy", smpl.template.double().numpy())
        body = BodyModel("smpl", "neutral", model_root=folder)
    fitter = BodyFitter(body)
    target = smpl(pose.float(), torch.zeros(len(pose), 10)).vertices

    def fit() -> dict[str, Tensor]:
        with torch.no_grad():
            return fitter.fit(target, num_iter=_ITERATIONS, requested_keys=["pose_rotvecs", "shape_betas"])

    found = fit()
    posed = body(found["pose_rotvecs"], found["shape_betas"], found["trans"])["vertices"].detach()
    away = (posed - target).norm(dim=-1)
    return 1000 * best_seconds(fit, repeats=2) / len(pose), 1000 * float(away.mean())
