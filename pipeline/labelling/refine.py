"""Round k >= 1: SKELify each person from the parent label and from the network's prediction, keep the best of all."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from pipeline.body import Smpl
from pipeline.fit import Anchor, Skelify
from pipeline.fit.skelify import SkelifyResult
from pipeline.fit.video.track import TrackFit
from pipeline.image.camera import at_focal
from pipeline.labelling.acceptance import AcceptConfig, Measured, judge, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import as_model, as_numpy, stored
from pipeline.labelling.estimated_focal import with_estimated_focal
from pipeline.labelling.fused_anchor import fused_anchor
from pipeline.labelling.predictor import PredictionBatch
from pipeline.labelling.tracks import TrackPart
from pipeline.numerics.error_metrics import pve_mm
from schemas.labels import Decision, StartSource


@dataclass(frozen=True)
class _Images:
    """What the fits see of N people: keypoints (N, 44, 3) crop units, keypoints_3d (N, 44, 4) m, by cameras of these
    focal lengths (N,), crop units.
    """

    keypoints: Tensor
    keypoints_3d: Tensor
    focal: Tensor

    def of(self, rows: Tensor) -> "_Images":
        """What they see of some people."""
        return _Images(self.keypoints[rows], self.keypoints_3d[rows], self.focal[rows])


@dataclass(frozen=True)
class _Candidate:
    """Labels that might replace the parents': as they would be stored, where each started, and how good they are."""

    fit: SkelifyResult
    source: np.ndarray
    measured: Measured
    pve_max_mm: Tensor


def refine_people(
    batch: PersonBatch,
    parent: LabelBatch,
    prediction: PredictionBatch | None,
    skelify: Skelify,
    smpl: Smpl,
    accept: AcceptConfig,
    track_fit: TrackFit | None = None,
    tracks: Sequence[TrackPart] = (),
) -> LabelBatch:
    """Labels of the next generation, one row per person of the batch, in its order.

    Everyone is fitted from the parent label, or from the mean pose where there is none, and once more from the
    prediction where there is one. The second fit replaces the first, and the better of them the parent label, only by
    the acceptance rule; errors are those of the float32 numbers that are stored.
    Parent and candidate are measured under the camera that the person has today, whatever the parent's row says.

    tracks: rows of the batch that are one person's video. Their candidates are fitted once more, together; then each
    frame is judged alone, as everyone is, so a track may end with frames that keep their parent's shape
    (docs/decisions/0019-tracks.md).
    """
    with torch.no_grad():
        skel, batch = skelify.model, with_estimated_focal(batch, parent, skelify, tracks)
        images = _Images(*(as_model(skel, x) for x in (batch.keypoints, batch.keypoints_3d, batch.focal)))
        candidate = _measured(*_fit_from_parents(images, parent, skelify), batch, images, skelify, smpl)
        if prediction is not None and prediction.available.any():
            candidate = _with_rivals(candidate, prediction, parent, batch, images, skelify, smpl, accept)
        if track_fit is not None:
            for part in tracks:
                candidate = _with_track(candidate, part, track_fit, batch, images, skelify, smpl)
        has_parent = torch.as_tensor(parent.has_label, device=skel.device)
        parent_q, parent_betas = as_model(skel, parent.q), as_model(skel, parent.betas)
        before = measure(skel, parent_q, parent_betas, images.keypoints, focal=images.focal)
        decisions = judge(before, candidate.measured, has_parent, images.keypoints, accept)
    return _rows(batch, parent, candidate, before, decisions)


def _fit_from_parents(images: _Images, parent: LabelBatch, skelify: Skelify) -> tuple[SkelifyResult, np.ndarray]:
    """Fit everyone from their own label or the mean pose; the two groups are independent problems of one solver."""
    skel = skelify.model
    q, betas, cam_t = (as_model(skel, x) for x in (parent.q, parent.betas, parent.cam_t))
    cam_t = at_focal(cam_t, as_model(skel, parent.known_focal), images.focal)
    held_q, held_betas = as_model(skel, parent.anchor_q), as_model(skel, parent.anchor_betas)
    loosely = torch.as_tensor(parent.start_source == StartSource.MEAN_POSE, device=q.device)
    known = torch.as_tensor(parent.has_label, device=q.device)
    kept_source = np.where(parent.start_source == StartSource.MEAN_POSE, StartSource.MEAN_POSE, StartSource.PARENT)
    source = np.where(parent.has_label, kept_source, StartSource.MEAN_POSE).astype(object)
    anchor, new = Anchor(held_q[known], loosely[known], held_betas[known]), ~known
    old, seen = images.of(known), images.of(new)
    results = (
        skelify.fit(old.keypoints, q[known], betas[known], cam_t[known], anchor, old.keypoints_3d, old.focal),
        skelify.fit_from_mean_pose(seen.keypoints, seen.keypoints_3d, seen.focal),
    )
    order = torch.cat([torch.nonzero(mask).squeeze(1) for mask in (known, new)])
    back = torch.argsort(order)
    return SkelifyResult(*(torch.cat(pair)[back] for pair in zip(*results, strict=True))), source


def _with_rivals(
    candidate: _Candidate,
    prediction: PredictionBatch,
    parent: LabelBatch,
    batch: PersonBatch,
    images: _Images,
    skelify: Skelify,
    smpl: Smpl,
    accept: AcceptConfig,
) -> _Candidate:
    """The candidates, each replaced by the fit from the person's prediction where the acceptance rule prefers that.

    That fit is held to what the parent's anchor and the prediction say together, to the prediction for people without a
    label (docs/decisions/0013-predictions.md).
    """
    skel = skelify.model
    chosen = np.flatnonzero(prediction.available)
    rows = torch.as_tensor(chosen, device=images.keypoints.device)
    seen = images.of(rows)
    q, betas, cam_t = (as_model(skel, x[chosen]) for x in (prediction.q, prediction.betas, prediction.cam_t))
    cam_t = at_focal(cam_t, as_model(skel, prediction.focal[chosen]), seen.focal)
    known = torch.as_tensor(parent.has_label[chosen], device=rows.device)
    together = fused_anchor(
        as_model(skel, parent.anchor_q[chosen]),
        q,
        skelify.anchor_std,
        as_model(skel, prediction.q_std[chosen]),
    )
    shape = torch.where(known[:, None], as_model(skel, parent.anchor_betas[chosen]), betas)
    anchor = Anchor(torch.where(known[:, None], together, q), torch.zeros_like(known), shape)
    fit = skelify.fit(seen.keypoints, q, betas, cam_t, anchor, seen.keypoints_3d, seen.focal)
    source = np.full(len(chosen), StartSource.PREDICTION, dtype=object)
    rival = _measured(fit, source, batch.take(chosen), seen, skelify, smpl)
    incumbent = _taken(candidate, rows)
    everyone = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    decisions = judge(incumbent.measured, rival.measured, everyone, seen.keypoints, accept)
    better = torch.tensor([decision == Decision.IMPROVED for decision in decisions], device=rows.device)
    return _replaced(candidate, rows[better], _taken(rival, torch.nonzero(better).squeeze(1)))


def _with_track(
    candidate: _Candidate,
    part: TrackPart,
    track_fit: TrackFit,
    batch: PersonBatch,
    images: _Images,
    skelify: Skelify,
    smpl: Smpl,
) -> _Candidate:
    """The candidates with those of one track replaced by its common fit. Frames that are not finite take no part."""
    usable = as_numpy(candidate.measured.finite)[part.rows]
    chosen = part.rows[usable]
    if len(chosen) < 2:
        return candidate
    rows = torch.as_tensor(chosen, device=images.keypoints.device)
    seen, first = images.of(rows), _taken(candidate, rows)
    mean_pose = torch.as_tensor(first.source == StartSource.MEAN_POSE)
    times = torch.as_tensor(part.times[usable])
    fit = track_fit.fit(seen.keypoints, times, first.fit, mean_pose, seen.keypoints_3d, seen.focal)
    together = _measured(fit, first.source, batch.take(chosen), seen, skelify, smpl)
    finite = torch.nonzero(together.measured.finite).squeeze(1)
    return _replaced(candidate, rows[finite], _taken(together, finite))


def _measured(
    fit: SkelifyResult, source: np.ndarray, batch: PersonBatch, images: _Images, skelify: Skelify, smpl: Smpl
) -> _Candidate:
    """The fit rounded to what the table holds, and measured as such."""
    q, betas = stored(fit.q), stored(fit.betas)
    pve_mean, pve_max = _distance_to_smpl(batch, q, betas, skelify, smpl)
    measured = measure(skelify.model, q, betas, images.keypoints, pve_mean, images.focal)
    return _Candidate(fit._replace(q=q, betas=betas, cam_t=measured.cam_t), source, measured, pve_max)


def _taken(candidate: _Candidate, rows: Tensor) -> _Candidate:
    """The candidates of some people."""
    measured = Measured(*(getattr(candidate.measured, field.name)[rows] for field in fields(Measured)))
    fit = SkelifyResult(*(value[rows] for value in candidate.fit))
    return _Candidate(fit, candidate.source[as_numpy(rows)], measured, candidate.pve_max_mm[rows])


def _replaced(candidate: _Candidate, rows: Tensor, by: _Candidate) -> _Candidate:
    """The candidates with those of the people `rows` replaced."""

    def put(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, rows, new)

    source = candidate.source.copy()
    source[as_numpy(rows)] = by.source
    names = [field.name for field in fields(Measured)]
    measured = Measured(*(put(getattr(candidate.measured, n), getattr(by.measured, n)) for n in names))
    fit = SkelifyResult(*map(put, candidate.fit, by.fit))
    return _Candidate(fit, source, measured, put(candidate.pve_max_mm, by.pve_max_mm))


def _distance_to_smpl(
    batch: PersonBatch, q: Tensor, betas: Tensor, skelify: Skelify, smpl: Smpl
) -> tuple[Tensor, Tensor]:
    """PVE mean and max (N,) mm to the SMPL pseudo-label, NaN for people without one."""
    skel = skelify.model
    mean, worst = (torch.full((len(q),), torch.nan, dtype=q.dtype, device=q.device) for _ in range(2))
    rows = torch.as_tensor(np.flatnonzero(batch.has_smpl), device=q.device)
    if len(rows):
        pose, shape = as_model(skel, batch.smpl_pose)[rows], as_model(skel, batch.smpl_betas)[rows]
        distance = pve_mm(skel(q[rows], betas[rows]).skin_vertices, smpl(pose, shape).vertices)
        mean[rows], worst[rows] = distance.mean(1), distance.amax(1)
    return mean, worst


def _rows(
    batch: PersonBatch,
    parent: LabelBatch,
    candidate: _Candidate,
    before: Measured,
    decisions: list[Decision],
) -> LabelBatch:
    """The parents' labels as measured today, replaced by the candidates' where those were taken."""
    fit, after = candidate.fit, candidate.measured
    candidate_error = as_numpy(after.kp2d_error)
    found = LabelBatch.of(
        batch.ids,
        has_label=np.ones(len(batch), bool),
        q=as_numpy(fit.q),
        betas=as_numpy(fit.betas),
        cam_t=as_numpy(fit.cam_t),
        q_std=as_numpy(fit.q_std),
        anchor_q=as_numpy(fit.anchor_q),
        anchor_betas=as_numpy(fit.anchor_betas),
        start_source=candidate.source,
        kp2d_error=candidate_error,
        pve_mean_mm=as_numpy(after.pve_mean_mm),
        pve_max_mm=as_numpy(candidate.pve_max_mm),
        limit_violation=as_numpy(after.limit_violation),
    )
    parent_error = np.where(parent.has_label, as_numpy(before.kp2d_error), np.nan)
    kept = parent.with_columns(cam_t=as_numpy(before.cam_t), kp2d_error=parent_error)
    taken = np.flatnonzero([d in (Decision.IMPROVED, Decision.FIRST_LABEL) for d in decisions])
    labels = kept.put(taken, found.take(taken)).with_columns(
        decision=decisions,
        parent_kp2d_error=parent_error,
        candidate_kp2d_error=np.where(as_numpy(after.finite), candidate_error, np.nan),
        iterations=as_numpy(fit.iterations),
    )
    return labels.under_cameras_of(batch)
