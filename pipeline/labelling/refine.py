"""Round k >= 1: everybody's most probable body given all that is known of them, kept where it beats the parent label.

docs/evidence.md states the model; `Evidence` holds it, `judge` decides by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor

from pipeline.body import Smpl
from pipeline.fit import Skelify
from pipeline.fit.skelify import SkelifyResult
from pipeline.fit.video.track import TrackFit
from pipeline.image.camera import at_focal
from pipeline.labelling.acceptance import AcceptConfig, Measured, judge, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.candidate import Candidates, Choice
from pipeline.labelling.convert import as_model, as_numpy
from pipeline.labelling.credibility import independence, widening
from pipeline.labelling.evidence import Evidence, energy, fitted, recorded_evidence
from pipeline.labelling.foretold import Foretold, foretold
from pipeline.labelling.heldout_keypoints import HeldOut, held_out
from pipeline.labelling.predictor import PredictionBatch
from pipeline.labelling.smpl_distance import distance_to_smpl
from pipeline.labelling.tracks import TrackPart
from schemas.labels import Decision, StartSource
from schemas.skel import N_Q, N_UNLIMITED

Q_FLOOR: Final = 0.01  # rad; no network knows an angle better, whatever it says
BETAS_FLOOR: Final = 0.05


@dataclass(frozen=True)
class _Round:
    """What stays the same while people are fitted."""

    batch: PersonBatch
    parent: LabelBatch
    prediction: PredictionBatch | None
    skelify: Skelify


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

    Everyone is fitted to what was known before, from the parent label, or from the mean pose where there is none. Where
    the prediction tells something new, it takes the place of an earlier one, and the person is fitted once more, from
    the first fit and from the prediction. The lower of those that pass the gates of acceptance replaces the parent
    label by its rule; errors are those of the float32 numbers that are stored. Parent and candidate are measured under
    the camera that the person has today, whatever the parent's row says.

    tracks: rows of the batch that are one person's video. Their candidates are fitted once more, together; then each
    frame is judged alone, as everyone is, so a track may end with frames that keep their parent's shape
    (docs/decisions/0019-tracks.md).
    """
    with torch.no_grad():
        known = _Round(batch, parent, prediction, skelify)
        evidence, candidates = _fit_to_what_was_known(known)
        evidence, news = _with_new_predictions(known, evidence, candidates)
        parent_q, parent_betas = as_model(skelify.model, parent.q), as_model(skelify.model, parent.betas)
        skel, seen = skelify.model, (evidence.keypoints, evidence.focal)
        has_parent = torch.as_tensor(parent.has_label, device=skel.device)
        before = measure(skel, parent_q, parent_betas, *seen)
        choice = Choice(skel, before, has_parent, *seen, accept)
        candidates = _fit_to_predictions(known, evidence, candidates, news, choice).as_stored()
        before_energy = energy(skelify, evidence, parent_q, parent_betas, before.cam_t, candidates.fit.cam_t)
        after_energy = candidates.fit.cost
        if track_fit is not None:
            for part in tracks:
                whole = _fit_track(part, track_fit, evidence, candidates, known)
                if whole is not None:
                    rows, together, energies = whole
                    candidates = candidates.replaced(rows, together)
                    after_energy, before_energy = (
                        old.index_copy(0, rows, new.to(old))
                        for old, new in zip((after_energy, before_energy), energies, strict=True)
                    )
        before = replace(before, energy=before_energy)
        after = replace(measure(skel, candidates.fit.q, candidates.fit.betas, *seen), energy=after_energy)
        decisions = judge(before, after, has_parent, evidence.keypoints, accept)
        taken = np.isin(decisions, [Decision.IMPROVED, Decision.FIRST_LABEL])
        measured = torch.as_tensor(np.flatnonzero(batch.has_smpl & taken), device=after.cam_t.device)
        pve_mean, pve_max = distance_to_smpl(batch, candidates.fit.q, candidates.fit.betas, measured, skel, smpl)
        heldout = held_out(batch, lambda people, rows: _foretold(people, evidence, rows, skelify))
    found = _rows_of(batch, candidates, evidence, after).with_columns(
        pve_mean_mm=as_numpy(pve_mean), pve_max_mm=as_numpy(pve_max)
    )
    return _merged(batch, parent, found, before, after, decisions, taken, heldout)


def _fit_to_what_was_known(known: _Round) -> tuple[Evidence, Candidates]:
    """Everyone from their own label, or from the mean pose; held to what their row says they were held to."""
    skelify, parent = known.skelify, known.parent
    skel = skelify.model
    q, betas, cam_t = (as_model(skel, x).clone() for x in (parent.q, parent.betas, parent.cam_t))
    evidence = recorded_evidence(known.batch, parent, skel)
    cam_t = at_focal(cam_t, as_model(skel, parent.known_focal), evidence.focal)
    new = torch.as_tensor(~parent.has_label, device=q.device)
    kept_source = np.where(parent.start_source == StartSource.MEAN_POSE, StartSource.MEAN_POSE, StartSource.PARENT)
    source = np.where(parent.has_label, kept_source, StartSource.MEAN_POSE).astype(object)
    seen, old = evidence.of(new), torch.nonzero(~new).squeeze(1)
    first = skelify.fit_from_mean_pose(seen.keypoints, seen.keypoints_3d, seen.focal)
    anchor_q, anchor_betas = evidence.anchor_q.clone(), evidence.anchor_betas.clone()
    anchor_q[new], anchor_betas[new] = first.anchor_q, first.anchor_betas
    evidence = replace(evidence, anchor_q=anchor_q, anchor_betas=anchor_betas)
    again = fitted(skelify, evidence.of(old), q[old], betas[old], cam_t[old])
    order = torch.cat([old, torch.nonzero(new).squeeze(1)])
    back = torch.argsort(order)
    whole = SkelifyResult(*(torch.cat(pair)[back] for pair in zip(again, first, strict=True)))
    return evidence, Candidates(whole, source)


def _with_new_predictions(
    known: _Round, evidence: Evidence, candidates: Candidates
) -> tuple[Evidence, Int[Tensor, "M"]]:
    """Today's prediction in the place of an earlier one, for the people whom it tells something: as far as it is to be
    believed (`credibility`). Also who these are.
    """
    skel, parent, predicted = known.skelify.model, known.parent, known.prediction
    if predicted is None:
        return evidence, torch.arange(0, device=skel.device)
    q, std = as_model(skel, predicted.q), as_model(skel, predicted.q_std).clamp_min(Q_FLOOR)
    std[:, :N_UNLIMITED] = std[:, :N_UNLIMITED].amax(1, keepdim=True)
    label, label_std = as_model(skel, parent.q), as_model(skel, parent.q_std)
    only_pseudo = torch.as_tensor((parent.start_source == StartSource.SMPL).astype(bool), device=q.device)
    label_std = torch.where(only_pseudo[:, None], known.skelify.anchor_std, label_std)
    share = torch.where(
        torch.as_tensor(parent.has_label, device=q.device),
        independence(q, std, label, label_std),
        torch.ones_like(std[:, 0]),
    )
    factor = widening(q, std, candidates.fit.q, candidates.fit.q_std) / share.sqrt()
    betas_std = as_model(skel, predicted.betas_std).clamp_min(BETAS_FLOOR)
    believed = torch.cat([std, betas_std], 1) * factor[:, None]
    news = torch.as_tensor(predicted.available, device=q.device) & (share > 0)
    said = torch.cat([q, as_model(skel, predicted.betas)], 1)
    told = replace(
        evidence,
        prediction=torch.where(news[:, None], said, evidence.prediction),
        prediction_std=torch.where(news[:, None], believed, evidence.prediction_std),
    )
    return told, torch.nonzero(news).squeeze(1)


def _fit_to_predictions(
    known: _Round, evidence: Evidence, candidates: Candidates, rows: Int[Tensor, "M"], choice: Choice
) -> Candidates:
    """The people of whom a network says something new, fitted once more from where they are and from what it says."""
    predicted, skelify = known.prediction, known.skelify
    if predicted is None or not len(rows):
        return candidates
    seen, here = evidence.of(rows), candidates.of(rows)
    again = here._replace(fit=fitted(skelify, seen, here.fit.q, here.fit.betas, here.fit.cam_t))
    cam_t = as_model(skelify.model, predicted.cam_t)[rows]
    cam_t = at_focal(cam_t, as_model(skelify.model, predicted.focal)[rows], seen.focal)
    fit = fitted(skelify, seen, seen.prediction[:, :N_Q], seen.prediction[:, N_Q:], cam_t)
    # whose anchor nobody said is theirs stays marked, or the next round would hold them to it as to a pseudo-label
    source = np.where(as_numpy(seen.mean_pose), StartSource.MEAN_POSE, StartSource.PREDICTION)
    rival = Candidates(fit, source.astype(object))
    return candidates.replaced(rows, choice.better(rows, again, rival))


def _fit_track(
    part: TrackPart, track_fit: TrackFit, evidence: Evidence, candidates: Candidates, known: _Round
) -> tuple[Tensor, Candidates, tuple[Tensor, Tensor]] | None:
    """Rows of one track, their common fit, and the energies of that and of the parents' labels as a motion. None for a
    track of less than two finite frames: others take no part.
    """
    finite = torch.isfinite(candidates.fit.q).all(1) & torch.isfinite(candidates.fit.cam_t).all(1)
    usable = as_numpy(finite)[part.rows]
    if usable.sum() < 2:
        return None
    rows = torch.as_tensor(part.rows[usable], device=evidence.focal.device)
    seen, first, times = evidence.of(rows), candidates.of(rows), torch.as_tensor(part.times[usable])
    skel = known.skelify.model
    track = track_fit.whole(seen.keypoints, times, first.fit, seen.anchor(skel), seen.keypoints_3d, seen.focal)
    together = first._replace(fit=track.result).as_stored()
    good = torch.nonzero(torch.isfinite(together.fit.q).all(1)).squeeze(1)
    parent_q, parent_betas = (as_model(skel, x)[rows] for x in (known.parent.q, known.parent.betas))
    before = track_fit.energy(track, parent_q, parent_betas, together.fit.cam_t)
    after = track_fit.energy(track, together.fit.q, together.fit.betas, together.fit.cam_t)
    return rows[good], together.of(good), (after[good], before[good])


def _foretold(people: PersonBatch, evidence: Evidence, rows: Int64[np.ndarray, "M"], skelify: Skelify) -> Foretold:
    """The keypoints of people of whom some are hidden, from what else is known of them."""
    skel = skelify.model
    seen = evidence.of(torch.as_tensor(rows, device=evidence.focal.device))
    hidden = as_model(skel, people.keypoints), as_model(skel, people.keypoints_3d)
    return foretold(skelify, replace(seen, keypoints=hidden[0], keypoints_3d=hidden[1]))


def _rows_of(batch: PersonBatch, candidates: Candidates, evidence: Evidence, after: Measured) -> LabelBatch:
    """The candidates as rows, with all that they were held to."""
    rows = candidates.as_rows(batch.ids, after, evidence.anchor_q, evidence.anchor_betas)
    return rows.with_columns(energy=as_numpy(after.energy), **_prediction_columns(evidence))


def _prediction_columns(evidence: Evidence) -> dict[str, np.ndarray]:
    """What the fit was held to besides the anchor; zeros where there is nothing."""
    said = torch.isfinite(evidence.prediction_std)
    prediction, std = (as_numpy(torch.where(said, x, 0)) for x in (evidence.prediction, evidence.prediction_std))
    return {
        "prediction_q": prediction[:, :N_Q],
        "prediction_betas": prediction[:, N_Q:],
        "prediction_q_std": std[:, :N_Q],
        "prediction_betas_std": std[:, N_Q:],
    }


def _merged(
    batch: PersonBatch,
    parent: LabelBatch,
    found: LabelBatch,
    before: Measured,
    after: Measured,
    decisions: list[Decision],
    taken: Bool[np.ndarray, "N"],
    heldout: HeldOut,
) -> LabelBatch:
    """The parents' labels as measured today, replaced by the candidates' where those were taken."""
    parent_error, parent_energy = (
        np.where(parent.has_label, as_numpy(x), np.nan) for x in (before.kp2d_error, before.energy)
    )
    kept = parent.with_columns(cam_t=as_numpy(before.cam_t), kp2d_error=parent_error, energy=parent_energy)
    rows = np.flatnonzero(taken)
    labels = kept.put(rows, found.take(rows))
    return labels.with_columns(
        decision=decisions,
        parent_kp2d_error=parent_error,
        candidate_kp2d_error=np.where(as_numpy(after.finite), found.kp2d_error, np.nan),
        parent_energy=parent_energy,
        iterations=found.iterations,
        kp2d_heldout_error=np.where(labels.has_label, heldout.error, np.nan),
        kp2d_heldout_in_50=np.where(labels.has_label, heldout.in_50, np.nan),
        kp2d_heldout_in_90=np.where(labels.has_label, heldout.in_90, np.nan),
    ).under_cameras_of(batch)
