"""SQL over published labels: DuckDB with a view `labels` over the planned files; a glob would see staged ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.labels.errors import NoSuchGenerationError
from pipeline.labels.training_metrics import metrics_files

if TYPE_CHECKING:
    import duckdb

    from pipeline.labels.store import LabelStore


def connect(store: "LabelStore", round: int | None = None) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection with the view `labels` over all published rounds, or over one.

    Once a network was trained, the view `training` has its curves (METRICS_SCHEMA).

    Raises NoSuchGenerationError when nothing, or not that round, is published.
    """
    import duckdb  # half of what importing the store costs; loader processes and actors never query

    rounds = [round] if round is not None else [generation.round for generation in store.rounds()]
    if not rounds:
        raise NoSuchGenerationError(store.nothing_published())
    plans = {k: list(store.files(k).values()) for k in rounds}
    connection = duckdb.connect()
    if not store.storage.is_local:
        # DuckDB's own S3 reader is an extension fetched from the network; s3fs is here and knows the AWS chain.
        connection.register_filesystem(store.storage.filesystem())
    _create_view(connection, plans)
    if curves := metrics_files(store.storage):
        connection.read_parquet(curves).create_view("training")
    return connection


def _create_view(connection: "duckdb.DuckDBPyConnection", plans: Mapping[int, list[str]]) -> None:
    for k, files in plans.items():
        connection.read_parquet(files, hive_partitioning=False).create_view(f"labels_of_round_{k}")
    # By name: a later round may have more columns. The round as a constant lets a filter on it skip whole rounds.
    parts = (f"SELECT * REPLACE ({k}::INTEGER AS round) FROM labels_of_round_{k}" for k in plans)
    connection.execute(f"CREATE VIEW labels AS {' UNION ALL BY NAME '.join(parts)}")
