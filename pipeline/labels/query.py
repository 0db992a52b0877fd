"""SQL over published labels: DuckDB with a view `labels` over the planned files; a glob would see staged ones."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline.labels.files.training_curves import metrics_files
from pipeline.storage.s3 import s3_scanner
from pipeline.storage.storage import Storage

if TYPE_CHECKING:
    import duckdb
    import pyarrow.fs


def connect(storage: Storage, plans: Mapping[int, Sequence[str]]) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection with the view `labels` over the files of some rounds, at least one: round -> its files.

    Once a network was trained, the view `training` has its curves (METRICS_SCHEMA).
    """
    import duckdb  # half of what importing the store costs; loader processes and actors never query

    connection = duckdb.connect()
    view = _view_of_files if storage.is_local else partial(_view_of_objects, s3_scanner())
    for k, files in plans.items():
        view(connection, f"labels_of_round_{k}", list(files))
    # By name: a later round may have more columns. The round as a constant lets a filter on it skip whole rounds.
    parts = (f"SELECT * REPLACE ({k}::INTEGER AS round) FROM labels_of_round_{k}" for k in plans)
    connection.execute(f"CREATE VIEW labels AS {' UNION ALL BY NAME '.join(parts)}")
    if curves := metrics_files(storage):
        view(connection, "training", curves)
    return connection


def _view_of_files(connection: "duckdb.DuckDBPyConnection", name: str, files: list[str]) -> None:
    connection.read_parquet(files, hive_partitioning=False).create_view(name)


def _view_of_objects(
    scanner: "pyarrow.fs.S3FileSystem", connection: "duckdb.DuckDBPyConnection", name: str, urls: list[str]
) -> None:
    """DuckDB's own S3 reader is an extension fetched from the network; Arrow's is here, and five times s3fs's speed."""
    import pyarrow.dataset  # a quarter of a second, which only a query over S3 needs

    paths = [url.removeprefix("s3://") for url in urls]
    options = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=True)
    format = pyarrow.dataset.ParquetFileFormat(default_fragment_scan_options=options)
    connection.register(name, pyarrow.dataset.dataset(paths, filesystem=scanner, format=format))
