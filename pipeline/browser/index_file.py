"""The index over two generations: a DuckDB file of scalars in the cache folder, made once for a pair of snapshots."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from pipeline.browser.columns import COLUMNS, HIDDEN
from pipeline.browser.index_rows import shard_rows
from pipeline.labels.store import LabelStore

_FORMAT: Final = "1"
"""Part of the file's name: another one for other columns."""
_KEPT: Final = 8
_BATCH_ROWS: Final = 50_000
_READERS: Final = 4

Progress = Callable[[int, int], None]
"""Told how many shards are done, and of how many."""


def index_path(folder: Path, store: LabelStore, a: int, b: int) -> Path:
    """Where the index of rounds A and B lies. Raises NoSuchGenerationError."""
    snapshots = [store.generation(k).snapshot_id for k in (a, b)]
    columns = ",".join(f"{column.name} {column.sql}" for column in COLUMNS)
    words = "\n".join([_FORMAT, columns, store.storage.root, *map(str, snapshots)])
    return folder / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.duckdb"


def make_index(path: Path, store: LabelStore, a: int, b: int, progress: Progress = lambda done, total: None) -> None:
    """Write the index of rounds A and B at `path`; it appears whole or not at all, for this user alone.

    Raises NoSuchGenerationError, LabelStoreError or OSError.
    """
    files_a, files_b = store.files(a), store.files(b)
    shards = sorted(files_a.keys() | files_b.keys())
    urls = [(files_a.get(shard), files_b.get(shard)) for shard in shards]
    write_index(path, _read(urls, progress))


def _read(urls: list[tuple[str | None, str | None]], progress: Progress) -> Iterator[pa.Table]:
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(urls), 16 * _READERS):  # bounded: rows come faster than they are written
            some = urls[start : start + 16 * _READERS]
            yield from pool.map(lambda pair: shard_rows(*pair), some)
            progress(start + len(some), len(urls))


def write_index(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write rows, as `shard_rows` gives them, as an index."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        connection = duckdb.connect(str(temporary))
        with connection:
            connection.execute("SET preserve_insertion_order = true")
            fields = [f"{name} {kind}" for name, kind in (*HIDDEN, *((c.name, c.sql) for c in COLUMNS))]
            connection.execute(f"CREATE TABLE people ({', '.join(fields)})")
            rows = 0
            for table in _batches(tables):
                numbered = table.append_column("id", pa.array(range(rows, rows + len(table)), pa.int32()))
                connection.register("batch", numbered)
                connection.execute("INSERT INTO people BY NAME SELECT * FROM batch")
                connection.unregister("batch")
                rows += len(table)
            connection.execute("CHECKPOINT")
        temporary.chmod(0o600)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_name(temporary.name + ".wal").unlink(missing_ok=True)
    _forget_oldest(path.parent)


def _batches(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= _BATCH_ROWS:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if rows:
        yield pa.concat_tables(waiting)


def _forget_oldest(folder: Path) -> None:
    """Indexes of generations that nobody looks at any more would fill the disk."""
    files = sorted(folder.glob("*.duckdb"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_KEPT:]:
        file.unlink(missing_ok=True)
