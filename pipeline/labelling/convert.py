"""Round 0: SMPL pseudo-labels become SKEL labels."""

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import SmplToSkel
from pipeline.labelling.acceptance import measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from schemas.labels import Decision, StartSource


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
    keypoints, focal = as_model(skel, batch.keypoints[rows]), as_model(skel, batch.focal[rows])
    measured = measure(skel, q, shape, keypoints, focal=focal)
    decision = np.where(as_numpy(found.poor_fit), Decision.CONVERTED_POOR_FIT, Decision.CONVERTED)
    converted = LabelBatch.of(
        [batch.ids[row] for row in rows],
        has_label=np.ones(len(rows), bool),
        q=as_numpy(q),
        betas=as_numpy(shape),
        cam_t=as_numpy(measured.cam_t),
        q_std=as_numpy(found.q_std),
        anchor_q=as_numpy(q),
        anchor_betas=as_numpy(shape),
        decision=decision,
        start_source=np.full(len(rows), StartSource.SMPL, object),
        kp2d_error=as_numpy(measured.kp2d_error),
        pve_mean_mm=as_numpy(found.pve_mean_mm),
        pve_max_mm=as_numpy(found.pve_max_mm),
        limit_violation=as_numpy(measured.limit_violation),
        iterations=as_numpy(found.iterations),
    )
    valid = np.flatnonzero(as_numpy(measured.finite) & np.isfinite(as_numpy(found.pve_max_mm)))
    return LabelBatch.of(batch.ids).put(rows[valid], converted.take(valid)).under_cameras_of(batch)


def stored(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """x as the table will hold it: rounded to float32, so that what is measured is what is published."""
    return x.to(torch.float32).to(x.dtype)


def as_model(skel: Skel, x: Shaped[np.ndarray, "*any"] | Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    """Numbers as a tensor in the body's dtype and on its device."""
    return torch.as_tensor(x).to(device=skel.device, dtype=skel.dtype)


def as_numpy(x: Shaped[Tensor, "*any"]) -> Shaped[np.ndarray, "*any"]:
    """A tensor's values on the host."""
    return x.detach().cpu().numpy()
