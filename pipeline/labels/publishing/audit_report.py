"""What an audit asks and what it found: the named checks, the verdict, and the error that refuses a generation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.lineage import Quantiles

EXAMPLES: Final = 5

CHECKS: Final = {
    "inputs_accounted": "every input shard was staged or failed with a recorded reason, and no other was staged",
    "not_empty": "the generation has rows",
    "files_intact": "each file has the size and checksum its sidecar states",
    "schema": "each file follows LABEL_SCHEMA, with no null in a required column",
    "own_shard": "round, dataset and shard of each row are those of its file",
    "unique_identity": "no person occurs twice",
    "finite_vectors": "the vectors (q, betas, cam_t, ...) of labelled rows are finite",
    "unlabelled_zero": "rows without a label have zero vectors",
    "decisions_known": "decision and start_source are known values, and agree with has_label",
    "genders_known": "labelled rows state the gender of their body, male or female, and no other row does",
    "cameras_known": "labelled rows state a known camera source and a focal length, or neither (HSMR's)",
    "null_not_nan": "unknown figures are null, never NaN or infinite",
    "counts_match": "row and decision counts are those of the sidecar",
    "one_row_per_person": "one row per readable person, besides rows carried over from the parent",
    "parent_rows_present": "every row of the parent generation is present",
    "energy_not_above_parent": "energy is not above parent_energy, and below it in improved rows",
    "error_not_above_parent": "in files without energies: kp2d_error is not above parent_kp2d_error, and below it in "
    "improved rows",
    "error_not_above_generation": "kp2d_error is not above the record of the parent generation under the same camera; "
    "in rows improved by energy, not by more than audit.gross_error_tolerance",
    "error_quantiles": "p50 and p95 of kp2d_error are not above the parent's by more than audit.quantile_tolerance",
    "heldout_quantiles": "mean, p50 and p95 of kp2d_heldout_error are not above the parent's, of the same people, by "
    "more than audit.heldout_tolerance",
    "rejected_share": "the share of rejected people is within audit.max_rejected_share",
    "unreadable_share": "the share of unreadable shards is within audit.max_unreadable_share",
}
"""Name and meaning of every check, in the order of the report."""

FORCEABLE: Final = frozenset(
    {"error_not_above_generation", "error_quantiles", "heldout_quantiles", "rejected_share", "unreadable_share"}
)
"""Judgements of quality, which somebody may overrule with a reason. The others say that files, identities, values or
completeness are broken: readers and later rounds rely on those, so nobody may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """One named check: how many rows, files or shards failed it, the figures, and the first few by name."""

    name: str
    failures: int
    figures: str = ""
    examples: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.failures == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The verdict on a generation, and the counts and quantiles that go into its lineage."""

    checks: tuple[AuditCheck, ...]
    rows: int
    decisions: Mapping[str, int]
    genders: Mapping[str, int]
    rejections: Mapping[str, int]
    unreadable_shards: tuple[str, ...]
    metrics: Mapping[str, Quantiles]

    @property
    def failed(self) -> tuple[AuditCheck, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def forceable(self) -> bool:
        """Whether everything that failed is a judgement that somebody may overrule."""
        return all(check.name in FORCEABLE for check in self.failed)


class AuditFailedError(LabelStoreError):
    """The generation failed its audit; nothing was published."""

    def __init__(self, round: int, report: AuditReport) -> None:
        self.report = report
        lines = [f"Round {round} failed its audit and was not published:"]
        for check in report.failed:
            lines.append(f"  {check.name}: {check.figures or check.failures} (expected: {CHECKS[check.name]})")
            lines += [f"    {example}" for example in check.examples]
        lines.append(_way_out(report))
        super().__init__("\n".join(lines))


def _way_out(report: AuditReport) -> str:
    if report.forceable:
        return "If that is as it should be, publish it with a reason, which is recorded: --force-publish 'REASON'."
    broken = ", ".join(check.name for check in report.failed if check.name not in FORCEABLE)
    return f"No reason can publish it: {broken} must hold in every generation. Correct the cause and start again."
