"""What a generation may lack and still be published: the settings `audit.*` of a round."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """What a generation may at most lack. Shares in [0, 1].

    error_tolerance: crop units by which kp2d_error may exceed the parent generation's record, as the parent's
    camera is solved again (1e-4 = 0.026 px of the 256 px crop). gross_error_tolerance: the same for labels that were
    replaced because they are more probable, which may follow the keypoints' noise less: several times that noise.
    quantile_tolerance: share by which p50 and p95 of kp2d_error may exceed the parent generation's: people with a first
    label may be harder ones, and labels that know more follow the keypoints' noise less: given the truth itself as the
    prediction, p50 rose by 9 % on the demo set. heldout_tolerance: share by which mean, p50 and p95 of
    kp2d_heldout_error may exceed the parent generation's, of the same people.
    """

    max_rejected_share: float = 0.5
    max_unreadable_share: float = 0.5
    error_tolerance: float = 1e-4
    gross_error_tolerance: float = 0.05
    quantile_tolerance: float = 0.25
    heldout_tolerance: float = 0.1
