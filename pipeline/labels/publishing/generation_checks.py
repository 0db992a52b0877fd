"""Checks that only a whole generation can answer: what is missing, how much was refused, how the errors are spread."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.labels.files.lineage import FEWEST_HELDOUT, Quantiles
from pipeline.labels.files.staging import StagedShard
from pipeline.labels.publishing.audit_config import AuditConfig
from pipeline.labels.publishing.audit_report import EXAMPLES, AuditCheck
from schemas.input_shard import InputShard, ShardId
from schemas.person import REPAIRS, Rejection, RejectionReason

MAX_OTHER_CAMERAS: Final = 0.05
"""Share of rows that may have got another camera since the parent generation, and their errors still be compared."""

JUDGED_QUANTILES: Final = ("p50", "p95")
JUDGED_HELDOUT: Final = ("mean", "p50", "p95")


def unaccounted(
    staged: Sequence[StagedShard],
    unreadable: Sequence[Rejection],
    inputs: Sequence[InputShard],
    parent_files: Mapping[ShardId, str],
) -> list[str]:
    """Shards that are staged, listed or missing as none should be.

    A shard of the parent that is no input any more may be staged: its rows are carried over.
    """
    expected = Counter(item.id for item in inputs)
    found = Counter(item.id for item in staged)
    accounted = found.keys() | {item.shard_id for item in unreadable}
    problems = [f"{shard}: neither staged nor failed" for shard in sorted(expected.keys() - accounted)]
    problems += [f"{shard}: no input" for shard in sorted(accounted - expected.keys() - parent_files.keys())]
    twice = (expected | found) - Counter(accounted | expected.keys())
    return problems + [f"{shard}: listed {n + 1} times" for shard, n in sorted(twice.items())]


def share_checks(
    staged: Sequence[StagedShard],
    rejections: Sequence[Rejection],
    unreadable: Sequence[Rejection],
    inputs: Sequence[InputShard],
    config: AuditConfig,
) -> dict[str, AuditCheck]:
    """`rejected_share` and `unreadable_share`. Repairs and whole shards do not count among the rejected people."""
    shard_reasons = {RejectionReason.SHARD_UNREADABLE, RejectionReason.SHARD_EMPTY, RejectionReason.SHARD_TRUNCATED}
    refused = [item for item in rejections if item.reason not in REPAIRS and item.reason not in shard_reasons]
    readable = sum(item.readable for item in staged)
    lost = {item.shard_id: f"{item.shard_id}: {item.detail}" for item in unreadable}
    return {
        "rejected_share": _share(
            "rejected_share",
            [f"{item.shard_id}/{item.key}: {item.reason} {item.detail}" for item in refused],
            readable + len(refused),
            config.max_rejected_share,
        ),
        "unreadable_share": _share("unreadable_share", list(lost.values()), len(inputs), config.max_unreadable_share),
    }


def quantile_check(now: Mapping[str, Quantiles], before: Mapping[str, Quantiles], config: AuditConfig) -> AuditCheck:
    """The distribution as a whole: no row may rise, but new and carried-over rows have nothing to be held to."""
    measure = "kp2d_error"
    if measure not in now or measure not in before:
        return AuditCheck(name="error_quantiles", failures=0, figures="nothing to compare with, or other cameras")
    compared, worse = _risen(
        measure, now[measure], before[measure], JUDGED_QUANTILES, config.quantile_tolerance, config.error_tolerance
    )
    return AuditCheck(name="error_quantiles", failures=len(worse), figures=compared, examples=worse)


def heldout_check(now: Quantiles | None, before: Quantiles | None, config: AuditConfig) -> AuditCheck:
    """Whether the round foretells hidden keypoints as well as the one before; both of the same people and points."""
    name, measure = "heldout_quantiles", "kp2d_heldout_error"
    if now is None or before is None or now.count < FEWEST_HELDOUT:
        people = 0 if now is None else now.count
        return AuditCheck(name=name, failures=0, figures=f"{people} people to compare, judged from {FEWEST_HELDOUT} on")
    compared, worse = _risen(measure, now, before, JUDGED_HELDOUT, config.heldout_tolerance)
    figures = f"{compared}, {now.count} people"
    return AuditCheck(name=name, failures=len(worse), figures=figures, examples=worse)


def _risen(
    measure: str, now: Quantiles, before: Quantiles, judged: Sequence[str], share: float, absolute: float = 0.0
) -> tuple[str, tuple[str, ...]]:
    """All quantiles compared, in words, and those that rose by more than the share and the absolute tolerance."""
    worse, compared = [], []
    for quantile in judged:
        found, parent = getattr(now, quantile), getattr(before, quantile)
        compared.append(f"{quantile} {found:.4g} (parent {parent:.4g}, at most {share:.0%} more)")
        if found > parent * (1 + share) + absolute:
            worse.append(f"{quantile} of {measure}: {found:.6g}, in the parent generation {parent:.6g}")
    return f"{measure} {', '.join(compared)}", tuple(worse)


def _share(name: str, refused: Sequence[str], total: int, limit: float) -> AuditCheck:
    share = len(refused) / total if total else 0.0
    figures = f"{len(refused)} of {total} = {share:.1%}, at most {limit:.1%}"
    too_many = share > limit
    examples = tuple(refused[:EXAMPLES]) if too_many else ()
    return AuditCheck(name=name, failures=len(refused) if too_many else 0, figures=figures, examples=examples)
