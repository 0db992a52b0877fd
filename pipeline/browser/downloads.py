"""The people that the filters take, as files: CSV, Parquet, or the list of shards they are in."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipeline.browser.columns import COLUMNS
from pipeline.browser.filters import Filters
from pipeline.browser.locked_sql import LockedSql
from pipeline.browser.paging import Order
from pipeline.browser.photo_shelf import NoPhotoError, PhotoShelf
from schemas.input_shard import ShardId

FORMATS: Final = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "shards": "text/plain; charset=utf-8",
}
_CHUNK: Final = 2**18
_FIELDS: Final = ", ".join(f"people.{column.name}" for column in COLUMNS)


def csv(sql: LockedSql, filters: Filters, order: Order) -> Iterator[bytes]:
    """All people of the filters in this order; raises QueryRefusedError or QueryTooSlowError before the first bytes."""
    first = True
    for batch in sql.batches(*_selection(filters, order)):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(batch, sink, pyarrow.csv.WriteOptions(include_header=first))
        first = False
        yield sink.getvalue().to_pybytes()


def parquet(sql: LockedSql, filters: Filters, order: Order) -> Iterator[bytes]:
    """The same as a Parquet file, which is written to a temporary file first: its end says where its parts are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.parquet"
        writer = None
        for batch in sql.batches(*_selection(filters, order)):
            table = pa.Table.from_batches([batch])
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is None:
            return
        writer.close()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


def shards(sql: LockedSql, filters: Filters, shelf: PhotoShelf) -> Iterator[bytes]:
    """The input shards that hold these people, one path or URL a line; `# dataset/shard` where none is known."""
    condition, values = filters.condition()
    found = sql.rows(
        f"SELECT DISTINCT dataset, shard FROM {filters.source()} WHERE {condition} ORDER BY dataset, shard", values
    )
    for dataset, shard in found:
        who = ShardId(str(dataset), str(shard))
        try:
            yield f"{shelf.input_shard(who).url}\n".encode()
        except NoPhotoError:
            yield f"# {who}\n".encode("utf-8", "backslashreplace")


def _selection(filters: Filters, order: Order) -> tuple[str, list[object]]:
    condition, values = filters.condition()
    # The order of the data is that of the index already: sorting millions of rows would need all of them in memory.
    ordered = f" ORDER BY {order.sql()}" if order.column else ""
    return (
        f"SELECT {_FIELDS}, verdict, reviewer FROM {filters.source()} AS people LEFT JOIN verdicts USING (id) "
        f"WHERE {condition}{ordered}",
        values,
    )
