"""Round 0: SMPL pseudo-labels become SKEL labels."""

import numpy as np
import torch
from torch import Tensor

from pipeline.fit import SmplToSkel
from pipeline.labelling.acceptance import measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from schemas.labels import Decision, StartSource
from schemas.skel import N_BETAS, N_Q


def convert_people(batch: PersonBatch, converter: SmplToSkel) -> LabelBatch:
    """Labels of generation 0: the conversion of each person's SMPL label, no label for people without one.

    A conversion whose PVE max is above the converter's bound keeps its numbers and is flagged `converted_poor_fit`;
    one that is not finite gives no label. cam_t is the camera that fits the keypoints best.
    """
    with torch.inference_mode(False), torch.no_grad():
        return _convert(batch, converter)


def _convert(batch: PersonBatch, converter: SmplToSkel) -> LabelBatch:
    skel, rows = converter.skel, np.flatnonzero(batch.has_smpl)
    pose, betas = torch.as_tensor(batch.smpl_pose[rows]), torch.as_tensor(batch.smpl_betas[rows])
    found = converter.fit(pose, betas)
    q, shape = stored(found.q), stored(found.betas)
    keypoints = torch.as_tensor(batch.keypoints[rows]).to(device=skel.device, dtype=skel.dtype)
    measured = measure(skel, q, shape, keypoints)
    valid = as_numpy(measured.finite) & np.isfinite(as_numpy(found.pve_max_mm))
    decision = np.where(as_numpy(found.poor_fit), Decision.CONVERTED_POOR_FIT, Decision.CONVERTED)
    count = len(batch)

    def spread(values: Tensor, missing: float, width: int | None = None) -> np.ndarray:
        out = np.full((count,) if width is None else (count, width), missing)
        out[rows[valid]] = as_numpy(values)[valid]
        return out

    has_label = np.zeros(count, dtype=bool)
    has_label[rows[valid]] = True
    decisions = np.full(count, Decision.NO_LABEL, dtype=object)
    decisions[rows[valid]] = decision[valid]
    unknown = np.full(count, np.nan)
    return LabelBatch(
        ids=batch.ids,
        has_label=has_label,
        q=spread(q, 0.0, N_Q).astype(np.float32),
        betas=spread(shape, 0.0, N_BETAS).astype(np.float32),
        cam_t=spread(measured.cam_t, 0.0, 3).astype(np.float32),
        q_std=spread(found.q_std, 0.0, N_Q).astype(np.float32),
        anchor_q=spread(q, 0.0, N_Q).astype(np.float32),
        anchor_betas=spread(shape, 0.0, N_BETAS).astype(np.float32),
        decision=decisions,
        start_source=np.where(has_label, StartSource.SMPL, StartSource.NONE).astype(object),
        kp2d_error=spread(measured.kp2d_error, np.nan),
        parent_kp2d_error=unknown,
        candidate_kp2d_error=unknown,
        pve_mean_mm=spread(found.pve_mean_mm, np.nan),
        pve_max_mm=spread(found.pve_max_mm, np.nan),
        limit_violation=spread(measured.limit_violation, np.nan),
        iterations=spread(found.iterations, -1.0).astype(np.int32),
    )


def stored(x: Tensor) -> Tensor:
    """x as the table will hold it: rounded to float32, so that what is measured is what is published."""
    return x.to(torch.float32).to(x.dtype)


def as_numpy(x: Tensor) -> np.ndarray:
    """A tensor's values on the host."""
    return x.detach().cpu().numpy()
