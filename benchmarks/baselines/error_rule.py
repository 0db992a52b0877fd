"""Rules that keep the label of the lower kp2d error, whatever else is known: ours until 2026-11-26, and HSMR's."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.labelling.acceptance import AcceptConfig, Measured, decisions, failed_gates
from schemas.labels import Decision


class ErrorRule(NamedTuple):
    """margin: by which share of the parent's error, and by how many crop units at least, a candidate's must be lower;
    betas_limit: largest |beta|; limit_tolerance: rad, how much further past a joint limit than the parent.
    """

    margin: float
    least_margin: float
    betas_limit: float
    limit_tolerance: float


OLD: Final = ErrorRule(margin=0.01, least_margin=1e-4, betas_limit=3.0, limit_tolerance=0.01)
PUBLISHED: Final = ErrorRule(margin=0.0, least_margin=0.0, betas_limit=2.0, limit_tolerance=torch.inf)


def judge_by_error(
    parent: Measured,
    candidate: Measured,
    has_parent: Bool[Tensor, "B"],
    keypoints: Float[Tensor, "B 44 3"],
    rule: ErrorRule,
    first_label_max_error: float = AcceptConfig().first_label_max_error,
) -> list[Decision]:
    """The decision for each person. Without a parent label the candidate's error must be at most this, crop units."""
    config = AcceptConfig(
        betas_limit=rule.betas_limit,
        limit_tolerance=rule.limit_tolerance,
        first_label_max_error=first_label_max_error,
    )
    margin = (rule.margin * parent.kp2d_error).clamp_min(rule.least_margin)
    better = (candidate.kp2d_error < parent.kp2d_error) & (candidate.kp2d_error <= parent.kp2d_error - margin)
    gates = failed_gates(parent, candidate, has_parent, keypoints, config)
    kept = [gate for gate in gates if gate[0] is not Decision.KEPT_GROSS_MISFIT]  # a lower error is no misfit
    return decisions(has_parent, [*kept, (Decision.KEPT_NOT_BETTER, has_parent & ~better)])
