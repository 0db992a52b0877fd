"""What is known of made people: their keypoints, and whose pose and shape the pseudo-label gives."""

import torch
from torch import Tensor

from pipeline.image.camera import FOCAL
from pipeline.labelling.evidence import Evidence


def evidence_of(q: Tensor, betas: Tensor, keypoints: Tensor) -> Evidence:
    """Of B people who are held to q (B, 46), betas (B, 10) and seen as keypoints (B, 44, 3): no 3D points, no network
    that says anything.
    """
    count, nothing = len(q), q.new_zeros(len(q), 56)
    return Evidence(
        keypoints=keypoints,
        keypoints_3d=q.new_zeros(count, 44, 4),
        focal=q.new_full((count,), FOCAL),
        anchor_q=q,
        anchor_betas=betas,
        mean_pose=torch.zeros(count, dtype=torch.bool),
        prediction=nothing,
        prediction_std=torch.full_like(nothing, torch.inf),
    )
