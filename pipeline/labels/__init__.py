"""Label generations: staged files, the audit, the atomic publish, lineage and SQL over what is published."""

from pipeline.labels.files.columns import vectors
from pipeline.labels.files.errors import (
    AlreadyPublishedError,
    CatalogError,
    LabelSchemaError,
    LabelStoreError,
    NoSuchGenerationError,
    OtherBodyError,
    ParentChangedError,
    PublishConflictError,
    RoundBusyError,
    RoundOrderError,
)
from pipeline.labels.files.genders import check_genders, with_stated_genders
from pipeline.labels.files.lineage import Lineage, derive_run_id
from pipeline.labels.files.staging import StagedShard, Staging, read_labels
from pipeline.labels.publishing.audit_config import AuditConfig
from pipeline.labels.publishing.audit_report import AuditCheck, AuditFailedError, AuditReport
from pipeline.labels.publishing.publication import Publication, PublishStep
from pipeline.labels.store import LabelStore
from pipeline.labels.table.generation import Generation
from pipeline.storage.storage import Storage

__all__ = [
    "AlreadyPublishedError",
    "AuditCheck",
    "AuditConfig",
    "AuditFailedError",
    "AuditReport",
    "CatalogError",
    "Generation",
    "LabelSchemaError",
    "LabelStore",
    "LabelStoreError",
    "Lineage",
    "NoSuchGenerationError",
    "OtherBodyError",
    "ParentChangedError",
    "Publication",
    "PublishConflictError",
    "PublishStep",
    "RoundBusyError",
    "RoundOrderError",
    "StagedShard",
    "Staging",
    "Storage",
    "check_genders",
    "derive_run_id",
    "read_labels",
    "vectors",
    "with_stated_genders",
]
