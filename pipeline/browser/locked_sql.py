"""A DuckDB over one index that can read it and nothing else: no files, no network, no extensions, no settings."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from pipeline.browser.browse_config import BrowseConfig


class QueryRefusedError(ValueError):
    """What was asked cannot be answered; the message is for the person who asked."""


class QueryTooSlowError(RuntimeError):
    """The query ran into its time limit."""


_LOCKS: Final = (
    "SET enable_external_access = false",
    "SET allow_community_extensions = false",
    "SET autoload_known_extensions = false",
    "SET autoinstall_known_extensions = false",
    "SET lock_configuration = true",
)


class LockedSql:
    """Queries over the table `people` of an index, each with a connection, a time and a memory limit of its own."""

    def __init__(self, path: Path, config: BrowseConfig) -> None:
        self._seconds = config.seconds
        self._connection = duckdb.connect()
        self._connection.execute(f"SET threads = {config.threads}")
        self._connection.execute("SET memory_limit = $1", [config.memory])
        self._connection.execute("SET max_temp_directory_size = '0 B'")
        name = str(path).replace("'", "''")
        self._connection.execute(f"ATTACH '{name}' AS found (READ_ONLY)")
        self._connection.execute("CREATE VIEW people AS FROM found.people")
        self._connection.execute("CREATE TABLE verdicts (id INTEGER PRIMARY KEY, verdict VARCHAR, reviewer VARCHAR)")
        for lock in _LOCKS:
            self._connection.execute(lock)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """All rows. Raises QueryRefusedError for what DuckDB refuses, QueryTooSlowError."""
        with self._limited() as cursor:
            return cursor.execute(sql, list(parameters)).fetchall()

    def batches(self, sql: str, parameters: Sequence[object] = (), rows: int = 50_000) -> Iterator[pa.RecordBatch]:
        """Arrow record batches; the time limit ends with the first: a download takes as long as its reader."""
        with self._limited() as cursor:
            reader: pa.RecordBatchReader = cursor.sql(sql, params=list(parameters)).to_arrow_reader(rows)
        yield from reader

    def set_verdicts(self, verdicts: Sequence[tuple[int, str, str]]) -> None:
        """Replace what is known of reviews: (id, verdict, reviewer), one for each person."""
        cursor = self._connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute("DELETE FROM verdicts")
        if verdicts:
            cursor.executemany("INSERT INTO verdicts VALUES (?, ?, ?)", [list(row) for row in verdicts])
        cursor.execute("COMMIT")

    @contextmanager
    def _limited(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._connection.cursor()
        late = threading.Event()

        def stop() -> None:
            late.set()
            cursor.interrupt()

        timer = threading.Timer(self._seconds, stop)
        timer.start()
        try:
            yield cursor
        except duckdb.InterruptException as error:
            raise QueryTooSlowError(f"the query took longer than {self._seconds:g} s and was stopped") from error
        except duckdb.OutOfMemoryException as error:
            raise QueryRefusedError("the query needs more memory than browse.memory allows") from error
        except duckdb.Error as error:
            if late.is_set():
                raise QueryTooSlowError(f"the query took longer than {self._seconds:g} s and was stopped") from error
            raise QueryRefusedError(str(error).splitlines()[0]) from error
        finally:
            timer.cancel()
