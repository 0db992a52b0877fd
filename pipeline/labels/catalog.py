"""The Iceberg catalog: which metadata file of the label table is the current one. It is moved by compare-and-swap."""

import contextlib
import hashlib
import logging
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from sqlalchemy.exc import SQLAlchemyError

from pipeline.labels.errors import CatalogError
from pipeline.labels.layout import CATALOG_FILE, TABLE_FOLDER
from pipeline.labels.storage import Storage
from schemas.labels import LABEL_SCHEMA

logger = logging.getLogger(__name__)

NAMESPACE: Final = "skel"
TABLE: Final = f"{NAMESPACE}.labels"
_CREATE_ATTEMPTS: Final = 5
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
            return self._open().load_table(TABLE)
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
        """The table as of now; the first caller creates it, with one empty snapshot for branches to start from."""
        for attempt in range(_CREATE_ATTEMPTS):
            table = self.load()
            if table is not None:
                return table
            try:
                self._create()
            except (TableAlreadyExistsError, CommitFailedException, SQLAlchemyError) as error:
                # Another process creates it at the same moment; the next load sees its table.
                if attempt == _CREATE_ATTEMPTS - 1:
                    raise CatalogError(f"Cannot create the label table in {self.uri}: {error}") from error
        raise CatalogError(f"Cannot create the label table in {self.uri}: it keeps disappearing.")

    def _open(self) -> Catalog:
        if self._catalog is None:
            self._catalog = _open(self.uri, self.storage)
        return self._catalog

    def _create(self) -> None:
        path = _sqlite_file(self.uri)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        catalog = self._open()
        with contextlib.suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(NAMESPACE)
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

    def _refuse_foreign_table(self) -> None:
        """A root that holds published metadata this catalog does not know must not get a second, forked history."""
        metadata = self.storage.names(f"{TABLE_FOLDER}/metadata")
        committed = [name for name in metadata if name.endswith(".metadata.json") and not name.startswith("00000-")]
        if committed and not self._knows_table():
            raise CatalogError(
                f"{self.storage.root} holds published labels, but the catalog {self.uri} does not know them. "
                "Set storage.catalog to the catalog they were published with."
            )

    def _knows_table(self) -> bool:
        path = _sqlite_file(self.uri)
        return (path is None or path.is_file()) and self._open().table_exists(TABLE)


def default_uri(storage: Storage) -> str:
    """SQLite inside a local root. A database file cannot live in S3: there, a file of this user on this machine."""
    if storage.is_local:
        return f"sqlite:///{storage.url(CATALOG_FILE)}"
    name = hashlib.sha256(storage.root.encode()).hexdigest()[:12]
    path = Path.home() / ".local" / "share" / "skel-labels" / f"{name}.db"
    logger.warning(
        "The catalog of %s is the local file %s: good for one machine. For a cluster set "
        "storage.catalog=postgresql+psycopg://HOST/DATABASE.",
        storage.root,
        path,
    )
    return f"sqlite:///{path}"


def _open(uri: str, storage: Storage) -> Catalog:
    properties = {"uri": uri, "warehouse": f"{storage.uri}/iceberg", "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"}
    if uri.startswith(("http://", "https://")):
        from pyiceberg.catalog.rest import RestCatalog

        return RestCatalog("labels", **properties)
    from pyiceberg.catalog.sql import SqlCatalog

    if uri.startswith("sqlite:") and "timeout=" not in uri:
        properties["uri"] += ("&" if "?" in uri else "?") + "timeout=60"  # wait for other writers, do not fail
    failure: SQLAlchemyError | None = None
    for _ in range(_OPEN_ATTEMPTS):
        try:
            return SqlCatalog("labels", **properties)
        except ModuleNotFoundError as error:
            raise CatalogError(f"storage.catalog={uri} needs the package {error.name}: pip install it.") from error
        except SQLAlchemyError as error:
            failure = error  # perhaps another process created a table between pyiceberg's look and its own creation
    raise CatalogError(f"The catalog {uri} cannot be opened: {failure}. Check storage.catalog.") from failure


def _sqlite_file(uri: str) -> Path | None:
    """The database file of a sqlite:/// URI, else None."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])
