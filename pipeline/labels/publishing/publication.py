"""What publishing comes to: the steps it takes, told as they are reached, and the outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.labels.publishing.audit_report import AuditReport
from pipeline.labels.table.generation import Generation


class PublishStep(StrEnum):
    """Reached in this order; told to `on_step`, for progress and for tests that die there."""

    AUDITED = "audited"
    LINEAGE_WRITTEN = "lineage_written"
    BRANCHED = "branched"
    BRANCH_AUDITED = "branch_audited"
    PUBLISHED = "published"


StepHook = Callable[[PublishStep], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The outcome. `already_published`: an earlier attempt of the same run had done it, and nothing was changed now."""

    generation: Generation
    already_published: bool
    report: AuditReport | None
