"""Warehouses for the tests of the label store: on a disk and on S3, with SQLite and with PostgreSQL as the catalog."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from tests.services.postgres_server import PostgresServer, running_postgres
from tests.services.s3_server import S3Server

_numbers = itertools.count()


@dataclass(frozen=True)
class Warehouse:
    """Where a store lies: what storage.root and storage.catalog are set to."""

    root: str
    catalog: str | None

    @property
    def store(self) -> LabelStore:
        """A store opened anew."""
        return LabelStore(self.root, self.catalog)

    @property
    def address(self) -> str:
        """For `tests.pipeline.labels.publisher`, in a process of its own."""
        return self.root if self.catalog is None else f"{self.root}@@{self.catalog}"


NewWarehouse = Callable[[], Warehouse]

KINDS = [
    "local-sqlite",
    pytest.param("s3-sqlite", marks=pytest.mark.slow),
    pytest.param("s3-postgres", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=KINDS)
def new_warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> NewWarehouse:
    """Makes an empty warehouse of one kind; the test runs once for each kind."""

    def make() -> Warehouse:
        number = next(_numbers)
        if request.param == "local-sqlite":
            return Warehouse(str(tmp_path / f"labels{number}"), None)
        server: S3Server = request.getfixturevalue("s3_server")
        root = f"s3://{server.bucket}/warehouse-{number}"
        if request.param == "s3-sqlite":
            return Warehouse(root, f"sqlite:///{tmp_path}/catalog{number}.db")
        return Warehouse(root, request.getfixturevalue("postgres").new_database())

    return make


@pytest.fixture
def warehouse(new_warehouse: NewWarehouse) -> Warehouse:
    """An empty warehouse of each kind."""
    return new_warehouse()
