"""What a round knows of a label without its truth, and how well that tells which labels are wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.rotations import wrapped
from pipeline.fit.prior.pose_prior import implausibility
from pipeline.numerics.error_metrics import mpjpe_mm
from pipeline.render.label_overlay import labels_by_person
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import PersonId
from schemas.skel import N_UNLIMITED

FEWEST: Final = 10  # people, for a rank correlation


def rank_correlations(labels: pa.Table, errors: pa.Table, skel: Skel) -> dict[str, float | None]:
    """Spearman's correlation with MPJPE of each of these, over the people of `errors` (ERROR_SCHEMA) who have both:

    rank_kp2d, rank_heldout, rank_energy: columns of `labels`; rank_prior: energy of the pose prior; rank_q_std: mean
    over q; rank_disagreement, rank_disagreement_mm: root mean square of the angles, and mean of the joints, between the
    label and the prediction that it was held to. None where fewer than ten people have it, or all have the same.
    """
    found = labels_by_person(labels)
    people = [PersonId(*row) for row in zip(*(errors[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True)]
    rows, mpjpe = [found[person] for person in people], errors["mpjpe_mm"].to_numpy()
    q = _stacked(rows, "q")
    apart = _apart(rows, skel)
    known = {
        "rank_kp2d": _figures(rows, "kp2d_error"),
        "rank_heldout": _figures(rows, "kp2d_heldout_error"),
        "rank_energy": _figures(rows, "energy"),
        "rank_prior": implausibility(q).numpy(),
        "rank_q_std": _stacked(rows, "q_std").mean(1).numpy(),
        "rank_disagreement": apart[0],
        "rank_disagreement_mm": apart[1],
    }
    return {name: _correlation(values, mpjpe) for name, values in known.items()}


def _correlation(values: Float[np.ndarray, "N"], mpjpe: Float[np.ndarray, "N"]) -> float | None:
    there = np.isfinite(values)
    if there.sum() < FEWEST or not np.ptp(values[there]) > 0:
        return None
    return float(spearmanr(values[there], mpjpe[there])[0])


def _apart(rows: Sequence[Mapping[str, Any]], skel: Skel) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Label and believed prediction: angles, rad, and joints from the pelvis, mm; NaN where there is none."""
    q, betas, said_q, said_betas = (_stacked(rows, n) for n in ("q", "betas", "prediction_q", "prediction_betas"))
    angles = wrapped(q - said_q)[:, N_UNLIMITED:].square().mean(1).sqrt()
    bodies = [skel.joints(a.to(skel.dtype), b.to(skel.dtype)) for a, b in ((q, betas), (said_q, said_betas))]
    told = (_stacked(rows, "prediction_q_std") > 0).any(1)
    joints = mpjpe_mm(bodies[0], bodies[1], root=0)
    angles, joints = (torch.where(told, x.double(), torch.nan).numpy() for x in (angles, joints))
    return angles, joints


def _stacked(rows: Sequence[Mapping[str, Any]], name: str) -> Float[Tensor, "N D"]:
    return torch.tensor([row[name] for row in rows], dtype=torch.float64)


def _figures(rows: Sequence[Mapping[str, Any]], name: str) -> Float[np.ndarray, "N"]:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], float)
