"""Labels that somebody else made become labels of a generation: measured like ours, and judged where we have one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.fit import Skelify
from pipeline.labelling.acceptance import AcceptConfig, Measured, judge, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import as_model, as_numpy
from pipeline.labelling.evidence import energy, recorded_evidence
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from schemas.labels import Decision, StartSource
from schemas.skel import N_BETAS, N_Q


def import_people(
    batch: PersonBatch,
    imported: Sequence[HsmrLabel | None],
    parent: LabelBatch | None,
    skelify: Skelify,
    accept: AcceptConfig,
) -> LabelBatch:
    """One row per person of the batch. Without a parent generation every imported label is taken as it is.

    With one, the imported label is a candidate, which replaces the parent's by the acceptance rule alone: where all
    else that is known of the person makes it more probable. The camera is solved and the error measured by us, whatever
    the file says; the distance to SMPL is the file's.
    """
    known = np.array([label is not None for label in imported], dtype=bool)
    q, betas = (
        _stacked([None if label is None else label.q for label in imported], N_Q),
        _stacked([None if label is None else label.betas for label in imported], N_BETAS),
    )
    pve_max_mm = np.array([np.nan if label is None else label.distance_mm for label in imported], np.float64)
    skel = skelify.model
    with torch.no_grad():
        keypoints, focal = as_model(skel, batch.keypoints), as_model(skel, batch.focal)
        new = as_model(skel, q), as_model(skel, betas)
        measured = measure(skel, *new, keypoints, focal)
        if parent is None:
            taken = known & as_numpy(measured.finite)
            decision = np.where(taken, Decision.IMPORTED, Decision.NO_LABEL).astype(object)
            return _rows(batch, LabelBatch.of(batch.ids), None, measured, (q, betas, pve_max_mm), taken, decision)
        old, evidence = (as_model(skel, parent.q), as_model(skel, parent.betas)), recorded_evidence(batch, parent, skel)
        before = measure(skel, *old, keypoints, focal)
        before, measured = (
            replace(found, energy=energy(skelify, evidence, *body, found.cam_t))
            for found, body in ((before, old), (measured, new))
        )
        has_parent = torch.as_tensor(parent.has_label, device=skel.device)
        decisions = judge(before, measured, has_parent, keypoints, accept)
    kept = np.where(parent.has_label, Decision.KEPT_NOT_BETTER, Decision.NO_LABEL)
    decision = np.where(known, np.array(decisions, dtype=object), kept).astype(object)
    taken = np.isin(decision.astype(str), [Decision.IMPROVED, Decision.FIRST_LABEL])
    return _rows(batch, parent, before, measured, (q, betas, pve_max_mm), taken, decision)


def _rows(
    batch: PersonBatch,
    parent: LabelBatch,
    before: Measured | None,
    after: Measured,
    new: tuple[np.ndarray, np.ndarray, np.ndarray],
    taken: NDArray[np.bool_],
    decision: np.ndarray,
) -> LabelBatch:
    """What was there, as measured today (`before`; None: nothing was), replaced by the new labels where taken."""
    q, betas, pve_max_mm = new
    error = as_numpy(after.kp2d_error)
    found = LabelBatch.of(
        batch.ids,
        has_label=np.ones(len(batch), bool),
        q=q,
        betas=betas,
        cam_t=as_numpy(after.cam_t),
        anchor_q=q,  # as a prediction, it is new information
        anchor_betas=betas,
        start_source=np.full(len(batch), StartSource.IMPORTED, object),
        kp2d_error=error,
        pve_max_mm=pve_max_mm,
        limit_violation=as_numpy(after.limit_violation),
        energy=as_numpy(after.energy),
    )
    unknown = np.full(len(batch), np.nan)
    kept = parent.with_columns(kp2d_error=unknown, energy=unknown)
    if before is not None:
        old_error = np.where(parent.has_label, as_numpy(before.kp2d_error), np.nan)
        old_energy = np.where(parent.has_label, as_numpy(before.energy), np.nan)
        kept = parent.with_columns(cam_t=as_numpy(before.cam_t), kp2d_error=old_error, energy=old_energy)
    rows = np.flatnonzero(taken)
    labels = kept.put(rows, found.take(rows)).with_columns(
        decision=decision,
        parent_kp2d_error=kept.kp2d_error,
        candidate_kp2d_error=unknown if before is None else error,
        parent_energy=kept.energy,
        iterations=np.full(len(batch), -1),
    )
    return labels.under_cameras_of(batch)


def _stacked(values: Sequence[np.ndarray | None], width: int) -> np.ndarray:
    """(N, width); NaN where there is none, so that it can never be judged better."""
    missing = np.full(width, np.nan, np.float32)
    return np.stack([missing if value is None else value for value in values]) if values else np.empty((0, width))
