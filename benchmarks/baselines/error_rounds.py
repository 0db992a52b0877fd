"""Round k >= 1 by an `ErrorRule`: people are fitted from label and prediction, and the lower kp2d error is kept.

As rounds were until 2026-11-26, but for four things: nobody is refused for their distance to the SMPL pseudo-label
(200 mm on average), kp2d errors on hidden keypoints are recorded, q_std is widened as it is today, so that trainings
weigh all labels alike, and tracks are not fitted as wholes.
"""

from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from benchmarks.baselines.error_rule import ErrorRule, judge_by_error
from benchmarks.baselines.fused_anchor import fused_anchor
from pipeline.fit import Anchor, Skelify
from pipeline.fit.skelify import SkelifyResult
from pipeline.image.camera import at_focal, project, rough_camera
from pipeline.labelling.acceptance import Measured, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.candidate import Candidates
from pipeline.labelling.convert import as_model, as_numpy
from pipeline.labelling.evidence import Evidence, recorded_evidence
from pipeline.labelling.foretold import Foretold
from pipeline.labelling.heldout_keypoints import held_out
from pipeline.labelling.predictor import PredictionBatch
from schemas.labels import Decision, StartSource


class _Start(NamedTuple):
    """Where fits start, and what they are held to."""

    q: Float[Tensor, "B 46"]
    betas: Float[Tensor, "B 10"]
    cam_t: Float[Tensor, "B 3"]
    anchor_q: Float[Tensor, "B 46"]
    anchor_betas: Float[Tensor, "B 10"]
    mean_pose: Bool[Tensor, "B"]

    def of(self, rows: Int[Tensor, "A"]) -> Self:
        return type(self)(*(value[rows] for value in self))

    def fit(self, seen: Evidence, skelify: Skelify) -> SkelifyResult:
        anchor = Anchor(self.anchor_q, self.mean_pose, self.anchor_betas)
        return skelify.fit(seen.keypoints, self.q, self.betas, self.cam_t, anchor, seen.keypoints_3d, seen.focal)


def refine_by_error(
    rule: ErrorRule,
    batch: PersonBatch,
    parent: LabelBatch,
    prediction: PredictionBatch | None,
    skelify: Skelify,
    *_: object,
) -> LabelBatch:
    """Labels of the next generation, one row per person of the batch, in its order; with the first arguments of
    `refine_people`, whose place it takes.
    """
    with torch.no_grad():
        skel = skelify.model
        seen = recorded_evidence(batch, parent, skel)
        candidates = _from_labels(seen, parent, skelify)
        unseen = _from_anchors(seen, candidates)
        if prediction is not None:
            unseen = _from_predictions(seen, unseen, parent, prediction, skelify)
            rows = torch.as_tensor(np.flatnonzero(prediction.available), device=skel.device)
            candidates = _with_rivals(seen.of(rows), unseen.of(rows), rows, candidates, skelify, rule)
        q, betas = (as_model(skel, x) for x in (parent.q, parent.betas))
        before = measure(skel, q, betas, seen.keypoints, seen.focal)
        after = measure(skel, candidates.fit.q, candidates.fit.betas, seen.keypoints, seen.focal)
        has_parent = torch.as_tensor(parent.has_label, device=skel.device)
        decisions = judge_by_error(before, after, has_parent, seen.keypoints, rule)
        heldout = held_out(batch, lambda people, who: _foretold(people, seen, unseen, who, skelify)).error
    return _labels(batch, parent, candidates, before, after, decisions, heldout)


def _from_labels(seen: Evidence, parent: LabelBatch, skelify: Skelify) -> Candidates:
    """Everyone fitted from their own label, or from the mean pose where there is none."""
    q, betas, cam_t, focal = (
        as_model(skelify.model, x) for x in (parent.q, parent.betas, parent.cam_t, parent.known_focal)
    )
    own = _Start(q, betas, at_focal(cam_t, focal, seen.focal), seen.anchor_q, seen.anchor_betas, seen.mean_pose)
    old, new = (torch.as_tensor(np.flatnonzero(x), device=q.device) for x in (parent.has_label, ~parent.has_label))
    again, unlabelled = own.of(old).fit(seen.of(old), skelify), seen.of(new)
    first = skelify.fit_from_mean_pose(unlabelled.keypoints, unlabelled.keypoints_3d, unlabelled.focal)
    back = torch.argsort(torch.cat([old, new]))
    fit = SkelifyResult(*(torch.cat(pair)[back] for pair in zip(again, first, strict=True)))
    source = np.where(as_numpy(seen.mean_pose), StartSource.MEAN_POSE, StartSource.PARENT).astype(object)
    return Candidates(fit, source).as_stored()


def _from_anchors(seen: Evidence, candidates: Candidates) -> _Start:
    """What everyone was first held to: a start that owes nothing to their keypoints."""
    q, betas = candidates.fit.anchor_q, candidates.fit.anchor_betas
    return _Start(q, betas, candidates.fit.cam_t, q, betas, seen.mean_pose)


def _from_predictions(
    seen: Evidence, anchors: _Start, parent: LabelBatch, prediction: PredictionBatch, skelify: Skelify
) -> _Start:
    """Where there is a prediction, that, held to the mean of it and the anchor; without a label to the prediction."""
    q, std, betas, cam_t, focal = (
        as_model(skelify.model, x)
        for x in (prediction.q, prediction.q_std, prediction.betas, prediction.cam_t, prediction.focal)
    )
    known, said = (torch.as_tensor(x, device=q.device)[:, None] for x in (parent.has_label, prediction.available))
    together = torch.where(known, fused_anchor(anchors.anchor_q, q, skelify.anchor_std, std), q)
    shape = torch.where(known, anchors.anchor_betas, betas)
    cam_t = at_focal(cam_t, focal, seen.focal)
    predicted = _Start(q, betas, cam_t, together, shape, torch.zeros_like(anchors.mean_pose))
    pairs = zip(predicted, anchors, strict=True)
    return _Start(*(torch.where(said if new.ndim > 1 else said[:, 0], new, old) for new, old in pairs))


def _with_rivals(
    seen: Evidence, start: _Start, rows: Int[Tensor, "A"], candidates: Candidates, skelify: Skelify, rule: ErrorRule
) -> Candidates:
    """The candidates, those at `rows` replaced by the fits from there where the rule prefers these."""
    source = np.full(len(rows), StartSource.PREDICTION, object)
    rival, own = Candidates(start.fit(seen, skelify), source).as_stored(), candidates.of(rows)
    mine, theirs = (
        measure(skelify.model, found.fit.q, found.fit.betas, seen.keypoints, seen.focal) for found in (own, rival)
    )
    decisions = judge_by_error(mine, theirs, torch.ones_like(theirs.finite), seen.keypoints, rule)
    better = torch.tensor([d == Decision.IMPROVED for d in decisions], dtype=torch.bool, device=rows.device)
    return candidates.replaced(rows[better], rival.of(torch.nonzero(better).squeeze(1)))


def _foretold(
    people: PersonBatch, seen: Evidence, unseen: _Start, who: Int64[np.ndarray, "M"], skelify: Skelify
) -> Foretold:
    """The keypoints of people of whom some are hidden, by a fit from prediction or anchor; how certain, nobody asks."""
    rows, skel = torch.as_tensor(who, device=seen.focal.device), skelify.model
    keypoints, points_3d = (as_model(skel, x) for x in (people.keypoints, people.keypoints_3d))
    start, part = unseen.of(rows), replace(seen.of(rows), keypoints=keypoints, keypoints_3d=points_3d)
    cam_t = rough_camera(skel.keypoints(start.q, start.betas), keypoints, part.focal)
    fit = start._replace(cam_t=cam_t).fit(part, skelify)
    places = project(skel.keypoints(fit.q, fit.betas), fit.cam_t, part.focal)
    return Foretold(places, torch.full_like(places, torch.nan)[..., None].expand(*places.shape, 2))


def _labels(
    batch: PersonBatch,
    parent: LabelBatch,
    candidates: Candidates,
    before: Measured,
    after: Measured,
    decisions: list[Decision],
    heldout: Float64[np.ndarray, "N"],
) -> LabelBatch:
    """The parents' labels as measured today, replaced by the candidates' where those were taken. Without energies."""
    fit = candidates.fit
    found = candidates.as_rows(batch.ids, after, fit.anchor_q, fit.anchor_betas)
    parent_error = np.where(parent.has_label, as_numpy(before.kp2d_error), np.nan)
    kept = parent.with_columns(
        cam_t=as_numpy(before.cam_t), kp2d_error=parent_error, energy=np.full(len(batch), np.nan)
    )
    taken = np.flatnonzero(np.isin(decisions, [Decision.IMPROVED, Decision.FIRST_LABEL]))
    labels = kept.put(taken, found.take(taken))
    return labels.with_columns(
        decision=decisions,
        parent_kp2d_error=parent_error,
        candidate_kp2d_error=np.where(as_numpy(after.finite), found.kp2d_error, np.nan),
        iterations=as_numpy(fit.iterations),
        kp2d_heldout_error=np.where(labels.has_label, heldout, np.nan),
    ).under_cameras_of(batch)
