"""How far labels are from the SMPL pseudo-labels of their people."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.body import Skel, Smpl
from pipeline.labelling.batches import PersonBatch
from pipeline.labelling.convert import as_model
from pipeline.numerics.error_metrics import pve_mm


def distance_to_smpl(
    batch: PersonBatch,
    q: Float[Tensor, "N 46"],
    betas: Float[Tensor, "N 10"],
    rows: Int[Tensor, "M"],
    skel: Skel,
    smpl: Smpl,
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """PVE mean and max (N,) mm of the labels q (N, 46), betas (N, 10) of the people at `rows`, who have a pseudo-label;
    NaN for all others.
    """
    mean, worst = (torch.full((len(q),), torch.nan, dtype=q.dtype, device=q.device) for _ in range(2))
    if len(rows):
        people = rows.cpu().numpy()
        pose, shape = as_model(skel, batch.smpl_pose[people]), as_model(skel, batch.smpl_betas[people])
        distance = pve_mm(skel(q[rows], betas[rows]).skin_vertices, smpl(pose, shape).vertices)
        mean[rows], worst[rows] = distance.mean(1), distance.amax(1)
    return mean, worst
