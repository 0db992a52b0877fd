"""Staged label files: one Parquet file per shard and run, and a JSON sidecar, written last, that vouches for it."""

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.labels.files import layout
from pipeline.labels.files.columns import VECTORS, counts, equals
from pipeline.labels.files.errors import LabelSchemaError
from pipeline.storage.opening import storage_of_file
from pipeline.storage.storage import Storage
from schemas.input_shard import ShardId
from schemas.labels import LABEL_SCHEMA
from schemas.person import Rejection, RejectionReason

logger = logging.getLogger(__name__)

_DICTIONARY_COLUMNS: Final = ["dataset", "shard", "decision", "start_source", "gender"]
# The bytes of a float sorted by significance: signs and exponents compress, where mantissas never do. Beside plain zstd
# 6 % smaller and half the time to write; every Parquet reader of the last years knows it.
_FLOAT_ENCODING: Final = dict.fromkeys((f"{name}.list.element" for name in VECTORS), "BYTE_STREAM_SPLIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedShard:
    """The sidecar: what was computed for one shard. `readable` people were read; `rows` also counts carried-over ones.

    `sha256` and `file_bytes` are those of the Parquet file, `config_digest` says under which settings it was made.
    """

    round: int
    run_id: str
    dataset: str
    shard: str
    rows: int
    readable: int
    file_bytes: int
    sha256: str
    config_digest: str
    decisions: Mapping[str, int]
    rejections: tuple[Rejection, ...]

    @property
    def id(self) -> ShardId:
        return ShardId(self.dataset, self.shard)

    @property
    def data_file(self) -> str:
        """Name of the Parquet file below the storage root."""
        return layout.data_file(self.round, self.run_id, self.dataset, self.shard)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "StagedShard":
        """Raises ValueError if this is no sidecar."""
        try:
            values: dict[str, Any] = json.loads(data)
            rejections = tuple(rejection_from(item) for item in values.pop("rejections"))
            values.pop("metrics", None)  # sums that sidecars once carried and nobody read
            return cls(**values, rejections=rejections)
        except (TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a sidecar: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """Where the actors of one run put their label files. A few strings: hand it to every actor.

    Nothing staged is visible to a reader of the store until the round is published.
    """

    storage: Storage
    round: int
    run_id: str
    config_digest: str

    def write(
        self, dataset: str, shard: str, table: pa.Table, *, readable: int, rejections: Sequence[Rejection] = ()
    ) -> StagedShard:
        """Stage the labels of one shard (LABEL_SCHEMA); `readable` is the number of people that could be read.

        The sidecar is written last, so a file without one never counts as finished. Raises LabelSchemaError.
        """
        data = encode(table)
        staged = StagedShard(
            round=self.round,
            run_id=self.run_id,
            dataset=dataset,
            shard=shard,
            rows=table.num_rows,
            readable=readable,
            file_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            config_digest=self.config_digest,
            decisions=counts(table["decision"]),
            rejections=tuple(rejections),
        )
        self.storage.write(staged.data_file, data)
        self.storage.write(layout.sidecar_file(self.round, self.run_id, dataset, shard), staged.to_json())
        return staged

    def find(self, dataset: str, shard: str) -> StagedShard | None:
        """The finished shard of an earlier attempt of this run, if its size, checksum and settings prove it whole."""
        name = layout.sidecar_file(self.round, self.run_id, dataset, shard)
        try:
            staged = StagedShard.from_json(self.storage.read(name))
            data = self.storage.read(layout.data_file(self.round, self.run_id, dataset, shard))
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("%s: %s. The shard is computed again.", self.storage.url(name), error)
            return None
        problem = self._mismatch(staged, dataset, shard) or corruption(staged, data) or _outdated(data)
        if problem:
            logger.warning("%s: %s. The shard is computed again.", self.storage.url(staged.data_file), problem)
            return None
        return staged

    def read(self, staged: StagedShard) -> pa.Table:
        """The rows of a staged shard."""
        return decode(self.storage.read(staged.data_file))

    def _mismatch(self, staged: StagedShard, dataset: str, shard: str) -> str | None:
        found = (staged.round, staged.run_id, staged.dataset, staged.shard, staged.config_digest)
        expected = (self.round, self.run_id, dataset, shard, self.config_digest)
        return None if found == expected else f"the sidecar belongs to {found}, expected {expected}"


def corruption(staged: StagedShard, data: bytes) -> str | None:
    """What is wrong with the bytes of a staged file, or None."""
    if len(data) != staged.file_bytes:
        return f"{len(data)} bytes where the sidecar says {staged.file_bytes}"
    digest = hashlib.sha256(data).hexdigest()
    return None if digest == staged.sha256 else f"sha256 {digest[:12]} where the sidecar says {staged.sha256[:12]}"


def _outdated(data: bytes) -> str | None:
    """A run that an older version of the code began, before LABEL_SCHEMA got another column."""
    schema = pq.read_schema(pa.BufferReader(data))
    return None if schema.equals(LABEL_SCHEMA) else _schema_difference(schema)


def encode(table: pa.Table) -> bytes:
    """Parquet bytes of a table of LABEL_SCHEMA, in its column order. Raises LabelSchemaError."""
    if not table.schema.equals(LABEL_SCHEMA):
        raise LabelSchemaError(_schema_difference(table.schema))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=_DICTIONARY_COLUMNS, column_encoding=_FLOAT_ENCODING)
    return sink.getvalue()


def decode(data: bytes) -> pa.Table:
    """The table in Parquet bytes, vectors as fixed_size_list.

    In this thread alone: callers read many files at once, and handing out columns costs more than decoding them.
    """
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def read_labels(url: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One label file by the path or s3:// URL that `LabelStore.files` gives, vectors as fixed_size_list.

    Columns that LABEL_SCHEMA got after the file was written are there all the same: null, vectors zero.
    """
    wanted = None if columns is None else list(columns)
    storage, name = storage_of_file(url)
    table = storage.parquet_file(name).read(columns=wanted, use_threads=False)
    return _in_todays_columns(table, LABEL_SCHEMA.names if wanted is None else wanted, url)


def _in_todays_columns(table: pa.Table, names: Sequence[str], url: str) -> pa.Table:
    missing = [LABEL_SCHEMA.field(name) for name in names if name not in table.column_names]
    for field in missing:
        if pa.types.is_fixed_size_list(field.type):
            zeros = pa.array(np.zeros(table.num_rows * field.type.list_size, np.float32))
            table = table.append_column(field, pa.FixedSizeListArray.from_arrays(zeros, type=field.type))
        elif field.nullable:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        else:
            raise LabelSchemaError(f"{url} has no column {field.name}. A column added later must be nullable.")
    if not missing:
        return table
    return table.select([*names, *(name for name in table.column_names if name not in names)])


def person_rows(storage: Storage, name: str, key: str, person: int) -> pa.Table:
    """The rows of one person in a label file: one or none; none also where there is no such file."""
    try:
        table = _in_todays_columns(decode(storage.read(name)), LABEL_SCHEMA.names, name).select(LABEL_SCHEMA.names)
    except FileNotFoundError:
        return LABEL_SCHEMA.empty_table()
    return table.filter(pa.array(equals(table["key"], key) & equals(table["person"], person)))


def rejection_from(values: Mapping[str, Any]) -> Rejection:
    fields = dict(values)
    reason = RejectionReason(fields.pop("reason"))
    return Rejection(**fields, reason=reason)


def _schema_difference(schema: pa.Schema) -> str:
    found = {field.name: field for field in schema}
    expected = {field.name: field for field in LABEL_SCHEMA}
    problems = [f"missing column {name}" for name in expected if name not in found]
    problems += [f"unknown column {name}" for name in found if name not in expected]
    differing = [name for name, field in expected.items() if found.get(name, field) != field]
    problems += [f"{name} is {found[name]}, expected {expected[name]}" for name in differing]
    problems = problems or [f"columns in another order: {schema.names}"]
    return f"labels do not follow LABEL_SCHEMA: {'; '.join(problems)}. Build the table with schema=LABEL_SCHEMA."
