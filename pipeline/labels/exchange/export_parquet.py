"""A generation as plain Parquet that stands on its own: one file, or one per shard."""

import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.labels.files.layout import shard_file
from pipeline.labels.files.staging import read_labels
from pipeline.labels.store import LabelStore
from pipeline.storage.opening import open_storage, storage_of_file
from schemas.labels import LABEL_SCHEMA


def export_file(store: LabelStore, round: int, destination: str) -> int:
    """Write all rows of a generation to one Parquet file, shard by shard; returns their number.

    destination: path or s3:// URL of the file, which appears whole or not at all. Raises NoSuchGenerationError.
    """
    rows = 0
    storage, name = storage_of_file(destination)
    plan = store.files(round)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "labels.parquet")
        with pq.ParquetWriter(path, LABEL_SCHEMA, compression="zstd") as writer:
            for url in plan.values():
                table = read_labels(url).select(LABEL_SCHEMA.names)
                writer.write_table(table)
                rows += table.num_rows
        storage.upload(path, name)
    return rows


def export_shards(store: LabelStore, round: int, destination: str) -> int:
    """Copy the label files to DESTINATION/dataset=D/SHARD.parquet; returns how many. Raises NoSuchGenerationError."""
    target = open_storage(destination)
    plan = store.files(round)
    for (dataset, shard), url in plan.items():
        target.write(shard_file(dataset, shard), store.storage.read(store.storage.name(url)))
    return len(plan)
