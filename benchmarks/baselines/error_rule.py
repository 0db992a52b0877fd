"""Rules that keep the label of the lower kp2d error, whatever else is known: ours until 2026-11-26, and HSMR's."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.image.keypoint_error import enough_keypoints
from pipeline.labelling.acceptance import AcceptConfig, Measured
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
    allowed = torch.where(has_parent, parent.limit_violation, 0) + rule.limit_tolerance
    margin = (rule.margin * parent.kp2d_error).clamp_min(rule.least_margin)
    better = (candidate.kp2d_error < parent.kp2d_error) & (candidate.kp2d_error <= parent.kp2d_error - margin)
    wins = torch.where(has_parent, better, candidate.kp2d_error <= first_label_max_error)
    failed = {
        Decision.KEPT_NOT_FINITE: ~candidate.finite,
        Decision.KEPT_TOO_FEW_KEYPOINTS: ~enough_keypoints(keypoints),
        Decision.KEPT_BETAS_OUT_OF_RANGE: ~(candidate.betas_size <= rule.betas_limit),
        Decision.KEPT_LIMITS: ~(candidate.limit_violation <= allowed),
        Decision.KEPT_NOT_BETTER: ~wins,
    }
    return [_decision(person, bool(known), failed) for person, known in enumerate(has_parent)]


def _decision(person: int, has_parent: bool, failed: dict[Decision, Tensor]) -> Decision:
    reason = next((decision for decision, people in failed.items() if bool(people[person])), None)
    if has_parent:
        return reason or Decision.IMPROVED
    return Decision.FIRST_LABEL if reason is None else Decision.NO_LABEL
