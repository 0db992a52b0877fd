"""The Iceberg catalog: which metadata file of the label table is the current one. It is moved by compare-and-swap."""

import contextlib
import json
import logging
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from sqlalchemy import Delete, Update, delete, update
from sqlalchemy.exc import SQLAlchemyError
from tenacity import RetryError, Retrying, TryAgain, retry_if_exception_type, stop_after_attempt

from pipeline.labels.files.errors import CatalogError, PublishConflictError
from pipeline.labels.files.layout import CATALOG_FILE, MOVED_FILE, TABLE_FOLDER
from pipeline.labels.table.table_clock import SteadySqlCatalog
from pipeline.storage.s3 import explained
from pipeline.storage.storage import Storage
from schemas.labels import LABEL_SCHEMA

logger = logging.getLogger(__name__)

NAMESPACE: Final = "skel"
TABLE: Final = f"{NAMESPACE}.labels"
_CREATE_ATTEMPTS: Final = 5
TABLE_IO: Final = "pipeline.labels.table.table_io.LabelTableIO"
_OPEN_ATTEMPTS: Final = 3

_TABLE_PROPERTIES: Final = {
    # pyiceberg's own retry would rebase a late publisher onto the winner: both succeed and every row doubles.
    "commit.retry.num-retries": "0",
    "write.parquet.compression-codec": "zstd",
}


class LabelCatalog:
    """The label table of one storage root, in a SQL catalog (SQLite, PostgreSQL) or a REST one."""

    def __init__(self, storage: Storage, uri: str | None = None) -> None:
        """`uri`: sqlite:///FILE, postgresql+psycopg://HOST/DB or http(s)://...; None = SQLite, see `default_uri`.

        Raises CatalogError for a URI that holds a password.
        """
        self.storage = storage
        self.uri = uri or default_uri(storage)
        if urlsplit(self.uri).password:
            raise CatalogError("storage.catalog holds a password. Leave it out, and put it in ~/.pgpass or PGPASSWORD.")
        self._catalog: Catalog | None = None

    def load(self) -> Table | None:
        """The table as of now, or None if nothing was ever published here."""
        path = _sqlite_file(self.uri)
        if path is not None and not path.is_file():
            self._refuse_foreign_table()
            return None
        try:
            with explained(self.storage.root):
                return self._own(self._open().load_table(TABLE))
        except (NoSuchTableError, NoSuchNamespaceError):
            self._refuse_foreign_table()
            return None
        except FileNotFoundError as error:
            raise CatalogError(
                f"The catalog {self.uri} points to metadata that is not there: {error}. "
                "Was the store moved or deleted? Its paths are absolute: move it back."
            ) from error
        except SQLAlchemyError as error:
            raise CatalogError(f"The catalog {self.uri} does not answer: {error}. Check storage.catalog.") from error

    def load_or_create(self) -> Table:
        """The table as of now, with all columns of LABEL_SCHEMA.

        The first caller creates it, with one empty snapshot for branches to start from.
        """
        retrying = Retrying(
            retry=retry_if_exception_type((TableAlreadyExistsError, CommitFailedException, SQLAlchemyError)),
            stop=stop_after_attempt(_CREATE_ATTEMPTS),
        )
        try:
            return retrying(self._up_to_date)
        except RetryError as error:
            last = error.last_attempt.exception()
            why = "it keeps disappearing." if isinstance(last, TryAgain) else str(last)
            raise CatalogError(f"Cannot create the label table in {self.uri}: {why}") from last

    def _up_to_date(self) -> Table:
        """Raises TryAgain once the table was created or changed, and others' errors: a process may do so meanwhile."""
        table = self.load()
        if table is None:
            self._create()
        elif _new_columns(table):
            _add_columns(table)
        else:
            return table
        raise TryAgain

    def _own(self, table: Table) -> Table:
        """Raises CatalogError when the catalog's table is that of another root: a catalog serves one."""
        if table.location() != f"{self.storage.uri}/{TABLE_FOLDER}":
            other = table.location().removesuffix("/" + TABLE_FOLDER)
            raise CatalogError(
                f"The catalog {self.uri} holds the labels of {other}, not of "
                f"{self.storage.uri}. Give each root a database of its own, or move the labels: "
                "python jobs/manage_labels.py relocate"
            )
        return table

    def _open(self) -> Catalog:
        if self._catalog is None:
            self._catalog = _open(self.uri, self.storage)
        return self._catalog

    def _made(self) -> Catalog:
        """The catalog and its namespace, made where they are missing."""
        path = _sqlite_file(self.uri)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        catalog = self._open()
        with contextlib.suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(NAMESPACE)
        return catalog

    def _create(self) -> None:
        catalog = self._made()
        create = catalog.create_table_transaction(
            TABLE, LABEL_SCHEMA, location=f"{self.storage.uri}/{TABLE_FOLDER}", properties=_TABLE_PROPERTIES
        )
        with create.update_spec() as spec:
            spec.add_field("round", IdentityTransform(), "round").add_field("dataset", IdentityTransform(), "dataset")
        # Files carry no field ids: they are written without asking the catalog, and are matched to columns by name.
        mapping = create.table_metadata.schema().name_mapping.model_dump_json()
        create.set_properties({"schema.name-mapping.default": mapping})
        create.update_snapshot().fast_append().commit()
        create.commit_transaction()

    def knows_table(self) -> bool:
        """Whether the catalog has a label table, of whatever root."""
        path = _sqlite_file(self.uri)
        return (path is None or path.is_file()) and self._open().table_exists(TABLE)

    def refuse_other_tables(self, source: Storage) -> None:
        """Raises CatalogError unless this catalog is empty, or holds the table that is about to leave `source`."""
        if self.knows_table():
            location = self._open().load_table(TABLE).location()
            if location != f"{source.uri}/{TABLE_FOLDER}":
                raise CatalogError(
                    f"{self.uri} already holds the labels of {location.removesuffix('/' + TABLE_FOLDER)}. "
                    "Relocate to an empty root, with a catalog of its own."
                )

    def register(self, metadata: str) -> None:
        """Take over a table by the location of its metadata. Raises CatalogError if there is one already."""
        catalog = self._made()
        try:
            catalog.register_table(TABLE, metadata)
        except TableAlreadyExistsError as error:
            raise CatalogError(
                f"{self.uri} already holds a label table: give each root a catalog of its own."
            ) from error

    def repoint(self, before: str, after: str) -> None:
        """Make `after` the current metadata if `before` is. Raises PublishConflictError if another commit came."""
        self._compare_and_swap(update(IcebergTables).values(metadata_location=after), before)

    def drop(self, metadata: str) -> None:
        """Forget the table, if `metadata` is its current one. Raises PublishConflictError if another commit came."""
        self._compare_and_swap(delete(IcebergTables), metadata)

    def _compare_and_swap(self, statement: Update | Delete, expected: str) -> None:
        """pyiceberg has no condition for these: both are one statement in the catalog's database."""
        catalog = self._open()
        if not isinstance(catalog, SqlCatalog):
            raise CatalogError(f"{self.uri} is no SQL catalog: moving is possible with SQLite and PostgreSQL.")
        row = statement.where(
            IcebergTables.catalog_name == catalog.name,
            IcebergTables.table_namespace == NAMESPACE,
            IcebergTables.table_name == TABLE.rpartition(".")[2],
            IcebergTables.metadata_location == expected,
        )
        with catalog.engine.begin() as connection:
            changed = connection.execute(row).rowcount
        if changed != 1:
            raise PublishConflictError("somebody published while the labels were being moved")

    def _refuse_foreign_table(self) -> None:
        """A root that holds published metadata this catalog does not know must not get a second, forked history."""
        with contextlib.suppress(FileNotFoundError):
            word = json.loads(self.storage.read(MOVED_FILE))
            raise CatalogError(
                f"The labels of {self.storage.root} were moved: use storage.root={word['root']} "
                f"storage.catalog={word['catalog']}"
            )
        metadata = self.storage.names(f"{TABLE_FOLDER}/metadata")
        committed = [name for name in metadata if name.endswith(".metadata.json") and not name.startswith("00000-")]
        if committed and not self.knows_table():
            raise CatalogError(
                f"{self.storage.root} holds published labels, but the catalog {self.uri} does not know them. "
                "Set storage.catalog to the catalog they were published with."
            )


def _new_columns(table: Table) -> list[str]:
    known = table.schema().column_names
    return [name for name in LABEL_SCHEMA.names if name not in known]


def _add_columns(table: Table) -> None:
    """Columns that LABEL_SCHEMA got since the table was made; in older generations they read as null."""
    new = pa.schema([LABEL_SCHEMA.field(name).with_nullable(True) for name in _new_columns(table)])
    logger.info("the label table gets the columns %s", ", ".join(new.names))
    with table.update_schema() as change:
        change.union_by_name(new)


def default_uri(storage: Storage) -> str:
    """SQLite, inside a local root. A database file cannot live in S3: there, a file of this user on this machine."""
    return f"sqlite:///{storage.database_file(CATALOG_FILE)}"


def _open(uri: str, storage: Storage) -> Catalog:
    properties = {"uri": uri, "warehouse": f"{storage.uri}/iceberg", "py-io-impl": TABLE_IO}
    if uri.startswith(("http://", "https://")):
        from pyiceberg.catalog.rest import RestCatalog

        return RestCatalog("labels", **properties)
    if uri.startswith("sqlite:") and "timeout=" not in uri:
        properties["uri"] += ("&" if "?" in uri else "?") + "timeout=60"  # wait for other writers, do not fail
    # Perhaps another process creates a table between pyiceberg's look and its own creation.
    retrying = Retrying(
        retry=retry_if_exception_type(SQLAlchemyError), stop=stop_after_attempt(_OPEN_ATTEMPTS), reraise=True
    )
    try:
        return retrying(SteadySqlCatalog, "labels", **properties)
    except ModuleNotFoundError as error:
        raise CatalogError(f"storage.catalog={uri} needs the package {error.name}: pip install it.") from error
    except SQLAlchemyError as error:
        raise CatalogError(f"The catalog {uri} cannot be opened: {error}. Check storage.catalog.") from error


def _sqlite_file(uri: str) -> Path | None:
    """The database file of a sqlite:/// URI, else None."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])
