"""All that a round knows of people, and how improbable that makes a label: the one objective of fit and acceptance.

The energy is what `Skelify` minimises, the negative log posterior in squared standard deviations (docs/evidence.md):
keypoints, 3D keypoints, the pseudo-label or the pose that a person without one started from, a network's prediction.
Two labels of one person compare by it, where both are given the same evidence and each its best camera.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit import Anchor, Skelify
from pipeline.fit.objectives.opinion import Opinion
from pipeline.fit.skelify import Problem, SkelifyResult
from pipeline.fit.solver.image_objective import CAM
from pipeline.image.camera import rough_camera, solve_camera
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import as_model
from schemas.labels import StartSource

_CAMERA_STEPS = 3  # of Gauss-Newton, from a camera that is nearly right


@dataclass(frozen=True)
class Evidence:
    """Of B people: keypoints (crop units), keypoints_3d (m), the focal length of their cameras (crop units); anchor_q,
    anchor_betas, and mean_pose where nobody said that this pose is theirs; prediction_*: q rad and betas, standard
    deviations infinite where there is none.
    """

    keypoints: Float[Tensor, "B 44 3"]
    keypoints_3d: Float[Tensor, "B 44 4"]
    focal: Float[Tensor, "B"]
    anchor_q: Float[Tensor, "B 46"]
    anchor_betas: Float[Tensor, "B 10"]
    mean_pose: Bool[Tensor, "B"]
    prediction: Float[Tensor, "B 56"]
    prediction_std: Float[Tensor, "B 56"]

    def of(self, rows: Int[Tensor, "A"] | Bool[Tensor, "B"]) -> Self:
        """What is known of some of the people."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def predicted(self) -> Bool[Tensor, "B"]:
        """Of whom a network said something that counts."""
        return torch.isfinite(self.prediction_std).any(1)

    def anchor(self, skel: Skel) -> Anchor:
        """What a fit is held to. The depth is that of the anchor's body at the size of the keypoints, so it is the same
        in every round.
        """
        points = skel.keypoints(self.anchor_q, self.anchor_betas)
        depth = rough_camera(points, self.keypoints, self.focal)[:, 2].nan_to_num(1.0, 1.0, 1.0)
        opinion = Opinion(self.prediction, self.prediction_std) if bool(self.predicted.any()) else None
        return Anchor(self.anchor_q, self.mean_pose, self.anchor_betas, opinion, depth)


def recorded_evidence(batch: PersonBatch, parent: LabelBatch, skel: Skel) -> Evidence:
    """What is seen of the people, and what their parents' rows say of everything else."""
    mean_pose = (parent.start_source == StartSource.MEAN_POSE) | ~parent.has_label
    std = as_model(skel, np.concatenate([parent.prediction_q_std, parent.prediction_betas_std], 1))
    return Evidence(
        keypoints=as_model(skel, batch.keypoints),
        keypoints_3d=as_model(skel, batch.keypoints_3d),
        focal=as_model(skel, batch.focal),
        anchor_q=as_model(skel, parent.anchor_q),
        anchor_betas=as_model(skel, parent.anchor_betas),
        mean_pose=torch.as_tensor(mean_pose.astype(bool), device=skel.device),
        prediction=as_model(skel, np.concatenate([parent.prediction_q, parent.prediction_betas], 1)),
        prediction_std=torch.where(std > 0, std, torch.inf),
    )


def fitted(
    skelify: Skelify,
    evidence: Evidence,
    q: Float[Tensor, "B 46"],
    betas: Float[Tensor, "B 10"],
    cam_t: Float[Tensor, "B 3"],
) -> SkelifyResult:
    """The most probable bodies that are found from a start."""
    anchor = evidence.anchor(skelify.model)
    return skelify.fit(evidence.keypoints, q, betas, cam_t, anchor, evidence.keypoints_3d, evidence.focal)


def energy(
    skelify: Skelify,
    evidence: Evidence,
    q: Float[Tensor, "B 46"],
    betas: Float[Tensor, "B 10"],
    *cameras: Float[Tensor, "B 3"],
) -> Float[Tensor, "B"]:
    """Of labels (B,), squared standard deviations, each under the best camera that a few steps find from any of
    `cameras`, m; without one from that which fits its keypoints. NaN for a label that is not finite.
    """
    skel = skelify.model
    anchor, found = evidence.anchor(skel), []
    for start in cameras or (solve_camera(skel.keypoints(q, betas), evidence.keypoints, evidence.focal),):
        seen = evidence.keypoints, q, betas, start, anchor, evidence.keypoints_3d, evidence.focal
        found.append(_with_best_camera(skelify, skelify.problem(*seen)))
    lowest = torch.stack(found).amin(0)
    return torch.where(torch.isfinite(lowest), lowest, torch.nan).to(skel.dtype)


def _with_best_camera(skelify: Skelify, problem: Problem) -> Float[Tensor, "B"]:
    """The least cost on the way of Gauss-Newton steps in the camera alone; infinite where there is none."""
    x, camera = problem.start.clone(), slice(CAM, CAM + 3)
    lowest = torch.full_like(x[:, 0], torch.inf)
    for _ in range(_CAMERA_STEPS):
        at = skelify.evaluate(x, problem.terms)
        lowest = torch.fmin(lowest, at.cost)
        block = at.normal[:, camera, camera] + 1e-9 * torch.eye(3).to(x)
        step, _ = torch.linalg.solve_ex(block, at.gradient[:, camera])
        x[:, camera] -= step.nan_to_num(0.0, 0.0, 0.0).clamp(-0.5, 0.5)
    return lowest
