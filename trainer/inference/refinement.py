"""SKELify from the prediction, where a person has keypoints; kept only when the acceptance rule calls it better."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.fit import Skelify
from pipeline.labelling.acceptance import AcceptConfig, judge, measure
from pipeline.labelling.batches import PersonBatch
from pipeline.labelling.convert import as_numpy, stored
from schemas.labels import Decision
from trainer.inference.predicted_people import PredictedPeople, Refinement, as_tensors


def refine_predictions(batch: PredictedPeople, skelify: Skelify, accept: AcceptConfig) -> PredictedPeople:
    """The batch with better fits in place of predictions, and what was decided for each person.

    Judged as a round judges labels: prediction and fit under the same keypoints, each under the camera solved for it.
    """
    skel, people = skelify.model, PersonBatch.from_people(batch.people)
    keypoints, points_3d = as_tensors(skel, people.keypoints, people.keypoints_3d)
    q, betas, cam_t = as_tensors(skel, batch.q, batch.betas, batch.cam_t)
    with torch.no_grad():
        fit = skelify.fit(keypoints, q, betas, cam_t, keypoints_3d=points_3d)
        before = measure(skel, q, betas, keypoints)
        after = measure(skel, stored(fit.q), stored(fit.betas), keypoints)
        decision = judge(before, after, torch.ones(len(batch), dtype=torch.bool), keypoints, accept)
    better = np.array([one is Decision.IMPROVED for one in decision])
    found = Refinement(
        decision=[one.value for one in decision],
        predicted_kp2d_error=as_numpy(before.kp2d_error),
        kp2d_error=np.where(better, as_numpy(after.kp2d_error), as_numpy(before.kp2d_error)),
    )

    def chosen(new: Tensor, old: np.ndarray) -> np.ndarray:
        return np.where(better[:, None], as_numpy(new), old).astype(np.float32)

    return replace(
        batch,
        q=chosen(fit.q, batch.q),
        betas=chosen(fit.betas, batch.betas),
        cam_t=chosen(after.cam_t, batch.cam_t),
        q_std=chosen(fit.q_std, batch.q_std),
        refinement=found,
    )
