"""SQL over published labels: DuckDB with a view `labels` over the planned files; a glob would see staged ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.labels.files.reviews import review_files
from pipeline.labels.files.training_curves import metrics_files
from pipeline.storage.storage import Storage
from schemas.labels import LABEL_SCHEMA

if TYPE_CHECKING:
    import duckdb


def connect(storage: Storage, plans: Mapping[int, Sequence[str]]) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection with the view `labels` over the files of some rounds, at least one: round -> its files.

    Once a network was trained, the view `training` has its curves (METRICS_SCHEMA); once somebody reviewed a person,
    the view `reviews` has all reviews (REVIEW_SCHEMA).
    """
    import duckdb  # half of what importing the store costs; loader processes and actors never query

    connection = duckdb.connect()
    views: dict[str, Sequence[str]] = {f"labels_of_round_{k}": files for k, files in plans.items()}
    if curves := metrics_files(storage):
        views["training"] = curves
    if said := review_files(storage):
        views["reviews"] = [storage.url(name) for name in said]
    storage.create_views(connection, views)
    # By name: a later round may have more columns. The round as a constant lets a filter on it skip whole rounds.
    parts = [f"SELECT * REPLACE ({k}::INTEGER AS round) FROM labels_of_round_{k}" for k in plans]
    known = {name for k in plans for name in connection.sql(f"FROM labels_of_round_{k} LIMIT 0").columns}
    if later := [name for name in LABEL_SCHEMA.names if name not in known]:
        # No rows, but the columns that came after all of these rounds: null there, as in a view with newer rounds.
        connection.register("later_columns", LABEL_SCHEMA.empty_table().select(later))
        parts.append("SELECT * FROM later_columns")
    connection.execute(f"CREATE VIEW labels AS {' UNION ALL BY NAME '.join(parts)}")
    return connection
