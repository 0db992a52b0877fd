"""SMPL labels of somebody else's in the place of the shards' pseudo-labels, and what their conversions are called."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labels.exchange.fitting_loss import MM_PER_M
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from schemas.person import SmplLabel


def with_smpl_labels(batch: PersonBatch, labels: Sequence[SmplLabel | None]) -> PersonBatch:
    """The people with these SMPL labels, which hold in the axes of the crops, and with none where there is None."""
    pose, betas = np.zeros_like(batch.smpl_pose), np.zeros_like(batch.smpl_betas)
    for row, label in enumerate(labels):
        if label is not None:
            pose[row], betas[row] = label.pose, label.betas
    has_smpl = np.array([label is not None for label in labels], bool)
    return replace(batch, smpl_pose=pose, smpl_betas=betas, has_smpl=has_smpl)


def as_imported(converted: LabelBatch) -> list[HsmrLabel | None]:
    """Conversions as labels that may be imported, with the distance to what they were converted from; else None."""
    return [
        HsmrLabel(
            q=converted.q[row],
            betas=converted.betas[row],
            pve_max=float(converted.pve_max_mm[row]) / MM_PER_M,
            kp2d_err=float("nan"),
        )
        if converted.has_label[row]
        else None
        for row in range(len(converted.ids))
    ]
