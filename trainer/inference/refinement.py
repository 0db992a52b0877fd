"""SKELify from the prediction, where a person has keypoints; kept only when the acceptance rule calls it better."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import Skelify
from pipeline.image.camera import at_focal
from pipeline.labelling.acceptance import AcceptConfig, judge, measure
from pipeline.labelling.batches import PersonBatch
from pipeline.labelling.convert import as_numpy, stored
from pipeline.labelling.evidence import Evidence, energy
from pipeline.labelling.rows_by_gender import rows_by_gender
from schemas.camera import CameraSource
from schemas.gender import Gender
from schemas.labels import Decision
from schemas.skel import N_BETAS, N_Q
from trainer.inference.predicted_people import PredictedPeople, Refinement, as_tensors


def refine_predictions(batch: PredictedPeople, fits: Mapping[Gender, Skelify], accept: AcceptConfig) -> PredictedPeople:
    """As `_refined`, each person by the fit on the body of their gender."""
    parts = [(rows, _refined(batch.rows(rows), fits[gender], accept)) for gender, rows in rows_by_gender(batch.genders)]
    return parts[0][1] if len(parts) == 1 else _in_order(batch, parts)


def _in_order(
    batch: PredictedPeople, parts: Sequence[tuple[Int64[np.ndarray, "_"], PredictedPeople]]
) -> PredictedPeople:
    """Refined parts of a batch, put together again."""
    place = np.argsort(np.concatenate([rows for rows, _ in parts]))

    def ordered(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(values)[place]

    found = [part.refinement for _, part in parts if part.refinement is not None]
    sources = [source for _, part in parts for source in part.camera_source]
    decisions = [decision for one in found for decision in one.decision]
    refinement = Refinement(
        decision=[decisions[row] for row in place],
        predicted_kp2d_error=ordered([one.predicted_kp2d_error for one in found]),
        kp2d_error=ordered([one.kp2d_error for one in found]),
    )
    names = ("q", "betas", "cam_t", "q_std", "focal", "camera_turn")
    arrays: dict[str, Any] = {name: ordered([getattr(part, name) for _, part in parts]) for name in names}
    return replace(batch, camera_source=[sources[row] for row in place], refinement=refinement, **arrays)


def _refined(batch: PredictedPeople, skelify: Skelify, accept: AcceptConfig) -> PredictedPeople:
    """The batch with better fits in place of predictions, and what was decided for each person.

    Judged as a round judges labels: prediction and fit under the same keypoints and the focal length of the person's
    camera, each with the cam_t solved for it. A better fit holds for that camera, whichever the prediction was made in.
    """
    skel, people = skelify.model, PersonBatch.from_people(batch.people)
    keypoints, points_3d, focal = as_tensors(skel, people.keypoints, people.keypoints_3d, people.focal)
    q, betas, cam_t, held_for = as_tensors(skel, batch.q, batch.betas, batch.cam_t, batch.focal)
    cam_t = at_focal(cam_t, held_for, focal)
    with torch.no_grad():
        evidence = _evidence(skel, keypoints, points_3d, focal, q, betas)
        anchor = evidence.anchor(skel)
        fit = skelify.fit(keypoints, q, betas, cam_t, anchor, points_3d, focal)
        before, after = (
            replace(measure(skel, *body, keypoints, focal), energy=energy(skelify, evidence, *body, cam_t, fit.cam_t))
            for body in ((q, betas), (stored(fit.q), stored(fit.betas)))
        )
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
        focal=np.where(better, people.focal, batch.focal),
        camera_source=[CameraSource(str(s)) for s in np.where(better, people.camera_source, batch.camera_source)],
        camera_turn=np.where(better[:, None], people.camera_turn, batch.camera_turn),
        refinement=found,
    )


def _evidence(skel: Skel, keypoints: Tensor, points_3d: Tensor, focal: Tensor, q: Tensor, betas: Tensor) -> Evidence:
    """Keypoints, and the prediction as all that is known of pose and shape."""
    nobody = torch.zeros(len(q), dtype=torch.bool, device=skel.device)
    nothing = q.new_zeros(len(q), N_Q + N_BETAS)
    return Evidence(keypoints, points_3d, focal, q, betas, nobody, nothing, torch.full_like(nothing, torch.inf))
