"""Times in the label table never go back, whatever the clocks of those who commit say.

Iceberg's Java readers (Spark, Trino) refuse a table whose snapshot log, metadata log or time of last update goes back
by more than a minute, and pyiceberg writes down whatever the clock of the committing machine says.
"""

from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StagedTable, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import Identifier


class SteadySqlCatalog(SqlCatalog):
    """A SQL catalog whose commits are not dated before the commit they follow."""

    def _update_and_stage_table(
        self,
        current_table: Table | None,
        table_identifier: Identifier,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> StagedTable:
        staged = super()._update_and_stage_table(current_table, table_identifier, requirements, updates)
        if current_table is not None:
            staged.metadata = not_before(current_table.metadata, staged.metadata)
        return staged


def not_before(earlier: TableMetadata, later: TableMetadata) -> TableMetadata:
    """`later` with every time that it adds to `earlier` moved up to the last update of `earlier`."""
    floor = earlier.last_updated_ms
    known = {snapshot.snapshot_id for snapshot in earlier.snapshots}
    logged = len(earlier.snapshot_log)

    def moved(item: Any) -> Any:
        return item if item.timestamp_ms >= floor else item.model_copy(update={"timestamp_ms": floor})

    changes: dict[str, Any] = {
        "snapshots": [item if item.snapshot_id in known else moved(item) for item in later.snapshots],
        "snapshot_log": [*later.snapshot_log[:logged], *map(moved, later.snapshot_log[logged:])],
        "last_updated_ms": max(later.last_updated_ms, floor),
    }
    return later.model_copy(update=changes)
