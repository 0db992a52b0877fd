"""Round k >= 1: SKELify each person from the parent label (or a prediction), keep the better of the two."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.acceptance import AcceptConfig, Measured, judge, measure
from pipeline.batch import LabelBatch, PersonBatch
from pipeline.body import Smpl
from pipeline.convert import as_numpy, stored
from pipeline.fit import Anchor, Skelify
from pipeline.fit.skelify import SkelifyResult
from schemas.labels import Decision, StartSource


@dataclass(frozen=True)
class Start:
    """Predictions to start from: q (N, 46), betas (N, 10), cam_t (N, 3), and for whom there is one (N,)."""

    q: Float[Tensor, "N 46"]
    betas: Float[Tensor, "N 10"]
    cam_t: Float[Tensor, "N 3"]
    available: Bool[Tensor, "N"]


@dataclass(frozen=True)
class _Candidate:
    fit: SkelifyResult
    source: np.ndarray


def refine_people(
    batch: PersonBatch,
    parent: LabelBatch,
    start: Start | None,
    skelify: Skelify,
    smpl: Smpl,
    accept: AcceptConfig,
) -> LabelBatch:
    """Labels of the next generation, one row per person of the batch, in its order.

    Starts from the prediction where there is one, else from the parent label, else from the mean pose. The candidate
    replaces the parent only by the acceptance rule; errors are those of the float32 numbers that are stored.
    """
    with torch.no_grad():
        skel = skelify.model
        keypoints = _own(skelify, batch.keypoints)
        candidate = _candidates(keypoints, _own(skelify, batch.keypoints_3d), parent, start, skelify)
        q, betas = stored(candidate.fit.q), stored(candidate.fit.betas)
        pve_mean, pve_max = _distance_to_smpl(batch, q, betas, skelify, smpl)
        measured = measure(skel, q, betas, keypoints, pve_mean)
        has_parent = torch.as_tensor(parent.has_label, device=skel.device)
        before = measure(skel, _own(skelify, parent.q), _own(skelify, parent.betas), keypoints)
        decisions = judge(before, measured, has_parent, keypoints, accept)
    fit = candidate.fit._replace(q=q, betas=betas, cam_t=measured.cam_t)
    return _rows(batch, parent, _Candidate(fit, candidate.source), before, measured, (pve_mean, pve_max), decisions)


def _own(skelify: Skelify, x: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(x).to(device=skelify.model.device, dtype=skelify.model.dtype)


def _candidates(
    keypoints: Tensor, points_3d: Tensor, parent: LabelBatch, start: Start | None, skelify: Skelify
) -> _Candidate:
    """Fit everyone from their own start; the two groups are independent problems of the same solver."""
    q, betas, cam_t, held = (_own(skelify, x) for x in (parent.q, parent.betas, parent.cam_t, parent.anchor_q))
    loosely = torch.as_tensor(parent.start_source == StartSource.MEAN_POSE, device=q.device)
    known = torch.as_tensor(parent.has_label, device=q.device)
    kept_source = np.where(parent.start_source == StartSource.MEAN_POSE, StartSource.MEAN_POSE, StartSource.PARENT)
    source = np.where(parent.has_label, kept_source, StartSource.MEAN_POSE).astype(object)
    if start is not None:
        available = start.available.to(q.device)
        q, betas, cam_t = (
            torch.where(available[:, None], _own(skelify, new), old)
            for new, old in ((start.q, q), (start.betas, betas), (start.cam_t, cam_t))
        )
        known, source[as_numpy(available)] = known | available, StartSource.PREDICTION
        held, loosely = torch.where(available[:, None], q, held), loosely & ~available
    anchor, new = Anchor(held[known], loosely[known]), ~known
    results = (
        skelify.fit(keypoints[known], q[known], betas[known], cam_t[known], anchor, points_3d[known]),
        skelify.fit_from_mean_pose(keypoints[new], points_3d[new]),
    )
    order = torch.cat([torch.nonzero(mask).squeeze(1) for mask in (known, new)])
    back = torch.argsort(order)
    return _Candidate(SkelifyResult(*(torch.cat(pair)[back] for pair in zip(*results, strict=True))), source)


def _distance_to_smpl(
    batch: PersonBatch, q: Tensor, betas: Tensor, skelify: Skelify, smpl: Smpl
) -> tuple[Tensor, Tensor]:
    """PVE mean and max (N,) mm to the SMPL pseudo-label, NaN for people without one."""
    mean, worst = (torch.full((len(q),), torch.nan, dtype=q.dtype, device=q.device) for _ in range(2))
    rows = torch.as_tensor(np.flatnonzero(batch.has_smpl), device=q.device)
    if len(rows):
        pose, shape = _own(skelify, batch.smpl_pose)[rows], _own(skelify, batch.smpl_betas)[rows]
        difference = skelify.model(q[rows], betas[rows]).skin_vertices - smpl(pose, shape).vertices
        pve_mm = (difference - difference.mean(1, keepdim=True)).norm(dim=-1) * 1000
        mean[rows], worst[rows] = pve_mm.mean(1), pve_mm.amax(1)
    return mean, worst


def _rows(
    batch: PersonBatch,
    parent: LabelBatch,
    candidate: _Candidate,
    before: Measured,
    after: Measured,
    pve: tuple[Tensor, Tensor],
    decisions: list[Decision],
) -> LabelBatch:
    taken = np.array([d in (Decision.IMPROVED, Decision.FIRST_LABEL) for d in decisions], dtype=bool)

    def vector(new: Tensor, old: np.ndarray) -> np.ndarray:
        return np.where(taken[:, None], as_numpy(new), old).astype(np.float32)

    def scalar(new: Tensor, old: np.ndarray) -> np.ndarray:
        return np.where(taken, as_numpy(new).astype(np.float64), old)

    fit, parent_error = candidate.fit, np.where(parent.has_label, as_numpy(before.kp2d_error), np.nan)
    return LabelBatch(
        ids=batch.ids,
        has_label=parent.has_label | taken,
        q=vector(fit.q, parent.q),
        betas=vector(fit.betas, parent.betas),
        cam_t=vector(fit.cam_t, as_numpy(before.cam_t)),
        q_std=vector(fit.q_std, parent.q_std),
        anchor_q=vector(fit.anchor_q, parent.anchor_q),
        decision=np.array(decisions, dtype=object),
        start_source=np.where(taken, candidate.source, parent.start_source).astype(object),
        kp2d_error=scalar(after.kp2d_error, parent_error),
        parent_kp2d_error=parent_error,
        candidate_kp2d_error=np.where(as_numpy(after.finite), as_numpy(after.kp2d_error), np.nan),
        pve_mean_mm=scalar(pve[0], parent.pve_mean_mm),
        pve_max_mm=scalar(pve[1], parent.pve_max_mm),
        limit_violation=scalar(after.limit_violation, parent.limit_violation),
        iterations=as_numpy(fit.iterations).astype(np.int32),
    )
