"""Which label is better: one pure rule that measures parent and candidate alike (docs/evidence.md).

The more probable one is, given the same evidence. The keypoint error, each under the camera that `solve_camera` finds,
is a record, and a guard against what no noise explains.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.image.camera import project, solve_camera
from pipeline.image.keypoint_error import enough_keypoints, kp2d_error
from schemas.labels import Decision
from schemas.skel import BETAS_LIMIT, N_UNLIMITED, q_limits


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptConfig:
    """Gates of the acceptance rule. Errors in crop units, angles in rad."""

    margin_relative: float = 1e-3  # of the parent's energy, by which a candidate's must be lower
    margin_absolute: float = 0.01  # and at least this much, squared standard deviations
    gross_error: float = 0.05  # crop units, by which a candidate's kp2d error may not exceed its parent's
    betas_limit: float = BETAS_LIMIT  # largest |beta|, standard deviations
    limit_tolerance: float = 0.01  # rad, how much further past a joint limit than the parent
    first_label_max_error: float = 0.05  # kp2d error above which a first label is refused


@dataclass(frozen=True)
class Measured:
    """What the rule looks at, one value per person: cam_t (B, 3) m, kp2d_error (B,) crop units (NaN without usable
    keypoints), limit_violation (B,) rad, betas_size (B,) = max |beta|, finite (B,), energy (B,) (NaN: unknown).
    """

    cam_t: Float[Tensor, "B 3"]
    kp2d_error: Float[Tensor, "B"]
    limit_violation: Float[Tensor, "B"]
    betas_size: Float[Tensor, "B"]
    finite: Bool[Tensor, "B"]
    energy: Float[Tensor, "B"]

    def of(self, rows: Int[Tensor, "A"]) -> Self:
        """Of some people."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


def limit_violation(q: Float[Tensor, "B 46"]) -> Float[Tensor, "B"]:
    """Largest excess over any joint limit, rad; 0 when all are honoured."""
    low, high = (torch.as_tensor(limit, dtype=q.dtype, device=q.device)[N_UNLIMITED:] for limit in q_limits())
    angles = q[:, N_UNLIMITED:]
    # q is stored as float32: a limit rounded to float32 is not a violation
    excess = torch.maximum(angles - high, low - angles).amax(1) - 1e-6
    return excess.clamp_min(0)


def measure(
    skel: Skel,
    q: Float[Tensor, "B 46"],
    betas: Float[Tensor, "B 10"],
    keypoints: Float[Tensor, "B 44 3"],
    focal: Float[Tensor, "B"] | None = None,
) -> Measured:
    """Measure labels, all but their energies, which are NaN; focal: crop units. A label that is not finite is measured
    as zeros and marked.
    """
    finite = torch.isfinite(q).all(1) & torch.isfinite(betas).all(1)
    q, betas = (torch.where(finite[:, None], x, torch.zeros_like(x)) for x in (q, betas))
    points = skel.keypoints(q, betas)
    cam_t = solve_camera(points, keypoints, focal)
    finite = finite & torch.isfinite(cam_t).all(1)
    error = kp2d_error(project(points, cam_t, focal), keypoints)
    unknown = torch.full_like(error, torch.nan)
    return Measured(cam_t, error, limit_violation(q), betas.abs().amax(1), finite, unknown)


def judge(
    parent: Measured,
    candidate: Measured,
    has_parent: Bool[Tensor, "B"],
    keypoints: Float[Tensor, "B 44 3"],
    config: AcceptConfig,
) -> list[Decision]:
    """The decision for each person: IMPROVED or FIRST_LABEL when the candidate replaces what was there.

    Without a parent label the candidate is judged by the absolute gates alone, and NO_LABEL means that it failed one.
    """
    margin = torch.clamp_min(config.margin_relative * parent.energy, config.margin_absolute)
    worse = ~(candidate.energy <= parent.energy - margin)
    failed = [
        *failed_gates(parent, candidate, has_parent, keypoints, config),
        (Decision.KEPT_NOT_BETTER, has_parent & worse),
    ]
    return decisions(has_parent, failed)


def passes_gates(
    parent: Measured,
    candidate: Measured,
    has_parent: Bool[Tensor, "B"],
    keypoints: Float[Tensor, "B 44 3"],
    config: AcceptConfig,
) -> Bool[Tensor, "B"]:
    """Whose candidate could be taken: it fails none of the gates that hold whatever its energy is."""
    gates = failed_gates(parent, candidate, has_parent, keypoints, config)
    return ~torch.stack([mask for _, mask in gates]).any(0)


def failed_gates(
    parent: Measured,
    candidate: Measured,
    has_parent: Bool[Tensor, "B"],
    keypoints: Float[Tensor, "B 44 3"],
    config: AcceptConfig,
) -> list[tuple[Decision, Bool[Tensor, "B"]]]:
    """Who fails each of the gates, in the order in which they are told."""
    allowed = torch.where(has_parent, parent.limit_violation, torch.zeros_like(parent.limit_violation))
    near = candidate.kp2d_error <= parent.kp2d_error + config.gross_error
    good_enough = candidate.kp2d_error <= config.first_label_max_error
    return [
        (Decision.KEPT_NOT_FINITE, ~candidate.finite),
        (Decision.KEPT_TOO_FEW_KEYPOINTS, ~enough_keypoints(keypoints)),
        (Decision.KEPT_BETAS_OUT_OF_RANGE, ~(candidate.betas_size <= config.betas_limit)),
        (Decision.KEPT_LIMITS, ~(candidate.limit_violation <= allowed + config.limit_tolerance)),
        (Decision.KEPT_GROSS_MISFIT, has_parent & ~near),
        (Decision.NO_LABEL, ~has_parent & ~good_enough),
    ]


def decisions(has_parent: Bool[Tensor, "B"], failed: Sequence[tuple[Decision, Bool[Tensor, "B"]]]) -> list[Decision]:
    """For each person the first test that the candidate failed; IMPROVED or FIRST_LABEL where it failed none."""
    return [_decision(person, bool(known), failed) for person, known in enumerate(has_parent)]


def _decision(person: int, has_parent: bool, failed: Sequence[tuple[Decision, Tensor]]) -> Decision:
    reason = next((decision for decision, mask in failed if bool(mask[person])), None)
    if reason is None:
        return Decision.IMPROVED if has_parent else Decision.FIRST_LABEL
    return reason if has_parent else Decision.NO_LABEL
