"""Labels that somebody else made become labels of a generation: measured like ours, gated, judged where we have one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from pipeline.body import Smpl
from pipeline.fit import Skelify
from pipeline.labelling.acceptance import AcceptConfig, Measured, judge, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch, Strings
from pipeline.labelling.convert import as_model, as_numpy
from pipeline.labelling.evidence import energy, recorded_evidence
from pipeline.labelling.smpl_distance import distance_to_smpl
from pipeline.labels.exchange.fitting_loss import MM_PER_M
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from schemas.labels import Decision, StartSource
from schemas.skel import N_BETAS, N_Q

_KEPT: Final = {
    Decision.REFUSED_NOT_FINITE: Decision.KEPT_NOT_FINITE,
    Decision.REFUSED_BETAS_OUT_OF_RANGE: Decision.KEPT_BETAS_OUT_OF_RANGE,
    Decision.REFUSED_FAR_FROM_SMPL: Decision.KEPT_FAR_FROM_SMPL,
}
"""What a gate is called where the person keeps the label that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportGates:
    """What an imported label must pass: the acceptance rule's settings, and far_mm, PVE max above which a label that
    passes for a conversion is none of its pseudo-label.
    """

    accept: AcceptConfig
    far_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The imported labels of a batch. known (N,): there is one. pve_mean, pve_max (N,) mm: measured, of what passes for
    a conversion; told (N,) mm: the loss of the conversion as the file says it.
    """

    known: Bool[np.ndarray, "N"]
    labels: LabelBatch
    measured: Measured
    told: Tensor
    pve_max: Tensor


def import_people(
    batch: PersonBatch,
    imported: Sequence[HsmrLabel | None],
    parent: LabelBatch | None,
    skelify: Skelify,
    smpl: Smpl,
    gates: ImportGates,
) -> LabelBatch:
    """One row per person of the batch. Without a parent generation every imported label is taken that passes the gates.

    With one, the imported label is a candidate besides, which replaces the parent's by the acceptance rule alone: where
    all else that is known of the person makes it more probable. The camera is solved and the error measured by us,
    whatever the file says; the distance to SMPL is the file's, where it says one.
    """
    with torch.no_grad():
        found = _found(batch, imported, skelify, smpl)
        if parent is None:
            decision = _first_decisions(found, gates)
            return _rows(batch, LabelBatch.of(batch.ids), None, found, decision)
        skel, q, betas = skelify.model, parent.q, parent.betas
        keypoints, focal = as_model(skel, batch.keypoints), as_model(skel, batch.focal)
        old, evidence = (as_model(skel, q), as_model(skel, betas)), recorded_evidence(batch, parent, skel)
        new = as_model(skel, found.labels.q), as_model(skel, found.labels.betas)
        before, after = (
            replace(measured, energy=energy(skelify, evidence, *body, measured.cam_t))
            for measured, body in ((measure(skel, *old, keypoints, focal), old), (found.measured, new))
        )
        has_parent = torch.as_tensor(parent.has_label, device=skel.device)
        judged = judge(before, after, has_parent, keypoints, gates.accept)
    found = replace(found, measured=after, labels=found.labels.with_columns(energy=as_numpy(after.energy)))
    return _rows(batch, parent, before, found, _later_decisions(found, parent, judged, gates))


def _found(batch: PersonBatch, imported: Sequence[HsmrLabel | None], skelify: Skelify, smpl: Smpl) -> _Found:
    skel = skelify.model
    known = np.array([label is not None for label in imported], dtype=bool)
    q = _stacked([None if label is None else label.q for label in imported], N_Q)
    betas = _stacked([None if label is None else label.betas for label in imported], N_BETAS)
    model_q, model_betas = as_model(skel, q), as_model(skel, betas)
    measured = measure(skel, model_q, model_betas, as_model(skel, batch.keypoints), as_model(skel, batch.focal))
    converted = np.array([label is not None and label.smpl_pve_max_mm is None for label in imported], dtype=bool)
    rows = torch.as_tensor(np.flatnonzero(converted & batch.has_smpl), device=skel.device)
    pve_mean, pve_max = distance_to_smpl(batch, model_q, model_betas, rows, skel, smpl)
    said = np.array([np.nan if label is None else label.distance_mm for label in imported], np.float64)
    labels = LabelBatch.of(
        batch.ids,
        has_label=np.ones(len(batch), bool),
        q=q,
        betas=betas,
        cam_t=as_numpy(measured.cam_t),
        anchor_q=q,  # as a prediction, it is new information
        anchor_betas=betas,
        start_source=np.full(len(batch), StartSource.IMPORTED, object),
        kp2d_error=np.where(known, as_numpy(measured.kp2d_error), np.nan),
        pve_mean_mm=as_numpy(pve_mean),
        pve_max_mm=np.where(np.isnan(said), as_numpy(pve_max), said),
        limit_violation=as_numpy(measured.limit_violation),
    )
    told = np.array([np.nan if label is None else label.pve_max * MM_PER_M for label in imported], np.float64)
    return _Found(known=known, labels=labels, measured=measured, told=as_model(skel, told), pve_max=pve_max)


def _gate(found: _Found, gates: ImportGates) -> list[Decision | None]:
    """The first gate that each label fails, None where it passes all (or is none)."""
    measured = found.measured
    failed = (
        (Decision.REFUSED_NOT_FINITE, ~measured.finite),
        (Decision.REFUSED_BETAS_OUT_OF_RANGE, ~(measured.betas_size <= gates.accept.betas_limit)),
        (Decision.REFUSED_FAR_FROM_SMPL, (found.told > gates.far_mm) | (found.pve_max > gates.far_mm)),
    )
    masks = [(decision, as_numpy(mask) & found.known) for decision, mask in failed]
    return [next((decision for decision, mask in masks if mask[row]), None) for row in range(len(found.known))]


def _first_decisions(found: _Found, gates: ImportGates) -> Strings:
    taken = np.where(found.known, Decision.IMPORTED, Decision.NO_LABEL).astype(object)
    return _array([refused or decision for refused, decision in zip(_gate(found, gates), taken, strict=True)])


def _later_decisions(found: _Found, parent: LabelBatch, judged: Sequence[Decision], gates: ImportGates) -> Strings:
    rows = zip(found.known, parent.has_label, _gate(found, gates), judged, strict=True)
    return _array([_later_decision(*row) for row in rows])


def _later_decision(known: bool, has_parent: bool, refused: Decision | None, judged: Decision) -> Decision:
    if not known:
        return Decision.KEPT_NOT_IMPORTED if has_parent else Decision.NO_LABEL
    if refused is not None:
        return _KEPT[refused] if has_parent else refused
    return Decision.REFUSED_AS_FIRST_LABEL if judged is Decision.NO_LABEL else judged


def _rows(
    batch: PersonBatch, parent: LabelBatch, before: Measured | None, found: _Found, decision: Strings
) -> LabelBatch:
    """What was there, as measured today (`before`; None: nothing was), replaced by the new labels where taken."""
    unknown = np.full(len(batch), np.nan)
    kept = parent.with_columns(kp2d_error=unknown, energy=unknown)
    if before is not None:
        old_error = np.where(parent.has_label, as_numpy(before.kp2d_error), np.nan)
        old_energy = np.where(parent.has_label, as_numpy(before.energy), np.nan)
        kept = parent.with_columns(cam_t=as_numpy(before.cam_t), kp2d_error=old_error, energy=old_energy)
    rows = np.flatnonzero(np.isin(decision, [Decision.IMPORTED, Decision.IMPROVED, Decision.FIRST_LABEL]))
    labels = kept.put(rows, found.labels.take(rows)).with_columns(
        decision=decision,
        parent_kp2d_error=kept.kp2d_error,
        candidate_kp2d_error=unknown if before is None else found.labels.kp2d_error,
        parent_energy=kept.energy,
        iterations=np.full(len(batch), -1),
    )
    return labels.under_cameras_of(batch)


def _array(decisions: Sequence[Decision]) -> Strings:
    array = np.empty(len(decisions), object)
    array[:] = decisions
    return array


def _stacked(values: Sequence[np.ndarray | None], width: int) -> np.ndarray:
    """(N, width); NaN where there is none, so that it can never be judged better."""
    missing = np.full(width, np.nan, np.float32)
    return np.stack([missing if value is None else value for value in values]) if values else np.empty((0, width))
