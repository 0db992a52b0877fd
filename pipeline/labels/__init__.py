"""Label generations: staged files, the audit, the atomic publish, lineage and SQL over what is published."""

from pipeline.labels.audit import AuditCheck, AuditConfig, AuditFailedError, AuditReport
from pipeline.labels.columns import vectors
from pipeline.labels.errors import (
    AlreadyPublishedError,
    CatalogError,
    LabelSchemaError,
    LabelStoreError,
    NoSuchGenerationError,
    ParentChangedError,
    PublishConflictError,
    RoundBusyError,
    RoundOrderError,
)
from pipeline.labels.files import StagedShard, Staging, read_labels
from pipeline.labels.generation import Generation
from pipeline.labels.lineage import InputShard, Lineage, derive_run_id
from pipeline.labels.publish import Publication, PublishStep
from pipeline.labels.storage import Storage
from pipeline.labels.store import LabelStore

__all__ = [
    "AlreadyPublishedError",
    "AuditCheck",
    "AuditConfig",
    "AuditFailedError",
    "AuditReport",
    "CatalogError",
    "Generation",
    "InputShard",
    "LabelSchemaError",
    "LabelStore",
    "LabelStoreError",
    "Lineage",
    "NoSuchGenerationError",
    "ParentChangedError",
    "Publication",
    "PublishConflictError",
    "PublishStep",
    "RoundBusyError",
    "RoundOrderError",
    "StagedShard",
    "Staging",
    "Storage",
    "derive_run_id",
    "read_labels",
    "vectors",
]
