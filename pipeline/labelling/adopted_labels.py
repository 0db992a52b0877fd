"""Labels that somebody else made become labels of a generation: measured like ours, and judged where we have one."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.body import Skel
from pipeline.labelling.acceptance import AcceptConfig, Measured, judge, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import as_numpy
from pipeline.labels.exchange.hsmr_fields import MM_PER_M, HsmrLabel
from schemas.labels import LABEL_SCHEMA, Decision, StartSource
from schemas.skel import N_BETAS, N_Q


def import_people(
    batch: PersonBatch,
    imported: Sequence[HsmrLabel | None],
    parent: LabelBatch | None,
    skel: Skel,
    accept: AcceptConfig,
) -> LabelBatch:
    """One row per person of the batch. Without a parent generation every imported label is taken as it is.

    With one, the imported label is a candidate, which replaces the parent's by the acceptance rule alone. The camera
    is solved and the error measured by us, whatever the file says; `pve_max` is the file's.
    """
    known = np.array([label is not None for label in imported], dtype=bool)
    q, betas = (
        _stacked([None if label is None else label.q for label in imported], N_Q),
        _stacked([None if label is None else label.betas for label in imported], N_BETAS),
    )
    pve_max_mm = np.array([np.nan if label is None else label.pve_max * MM_PER_M for label in imported], np.float64)
    with torch.no_grad():
        keypoints = _own(skel, batch.keypoints)
        measured = measure(skel, _own(skel, q), _own(skel, betas), keypoints)
        if parent is None:
            taken = known & as_numpy(measured.finite)
            decision = np.where(taken, Decision.IMPORTED, Decision.NO_LABEL).astype(object)
            return _rows(batch, _nothing(batch), None, measured, (q, betas, pve_max_mm), taken, decision)
        before = measure(skel, _own(skel, parent.q), _own(skel, parent.betas), keypoints)
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
    q, betas, pve_max_mm = new
    error = as_numpy(after.kp2d_error).astype(np.float64)
    old_error = np.full(len(batch), np.nan)
    old_cam_t = parent.cam_t
    if before is not None:
        old_error = np.where(parent.has_label, as_numpy(before.kp2d_error), np.nan)
        old_cam_t = as_numpy(before.cam_t)

    def vector(values: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.where(taken[:, None], values, old).astype(np.float32)

    return LabelBatch(
        ids=batch.ids,
        has_label=parent.has_label | taken,
        q=vector(q, parent.q),
        betas=vector(betas, parent.betas),
        cam_t=vector(as_numpy(after.cam_t), old_cam_t),
        q_std=vector(np.zeros_like(q), parent.q_std),
        anchor_q=vector(q, parent.anchor_q),  # as a prediction, it is new information
        anchor_betas=vector(betas, parent.anchor_betas),
        decision=decision,
        start_source=np.where(taken, StartSource.IMPORTED, parent.start_source).astype(object),
        kp2d_error=np.where(taken, error, old_error),
        parent_kp2d_error=old_error,
        candidate_kp2d_error=error if before is not None else np.full(len(batch), np.nan),
        pve_mean_mm=np.where(taken, np.nan, parent.pve_mean_mm),
        pve_max_mm=np.where(taken, pve_max_mm, parent.pve_max_mm),
        limit_violation=np.where(taken, as_numpy(after.limit_violation), parent.limit_violation),
        iterations=np.full(len(batch), -1, np.int32),
    )


def _nothing(batch: PersonBatch) -> LabelBatch:
    """Nobody has a label yet."""
    return LabelBatch.from_table(LABEL_SCHEMA.empty_table(), batch.ids)


def _stacked(values: Sequence[np.ndarray | None], width: int) -> np.ndarray:
    """(N, width); NaN where there is none, so that it can never be judged better."""
    missing = np.full(width, np.nan, np.float32)
    return np.stack([missing if value is None else value for value in values]) if values else np.empty((0, width))


def _own(skel: Skel, values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values).to(device=skel.device, dtype=skel.dtype)
