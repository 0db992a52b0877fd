"""Arithmetic on the columns of label tables: identities, comparisons and vectors as numpy arrays."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Float64, Int64

from schemas.labels import LABEL_SCHEMA

Mask = Bool[np.ndarray, "N"]

VECTORS: Final = tuple(field.name for field in LABEL_SCHEMA if pa.types.is_fixed_size_list(field.type))
FIGURES: Final = tuple(
    field.name
    for field in LABEL_SCHEMA
    if field.nullable and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
)


def vectors(column: pa.ChunkedArray) -> Float32[np.ndarray, "N D"]:
    """A vector column (n rows of d) as an array (n, d); no copy when the column is one chunk. Read-only."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values = array.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(array), column.type.list_size)


def figures(column: pa.ChunkedArray) -> Float64[np.ndarray, "N"]:
    """A nullable number column as float64 (n,), null as NaN: every comparison with an unknown is then false."""
    return column.to_numpy().astype(np.float64)


def counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each string occurs, by name."""
    pairs = column.value_counts().to_pylist()
    return {pair["values"]: pair["counts"] for pair in sorted(pairs, key=lambda pair: str(pair["values"]))}


def equals(column: pa.ChunkedArray, value: Any) -> Mask:
    return mask(pc.call_function("equal", [column, pa.scalar(value, column.type)]))


def one_of(column: pa.ChunkedArray, values: Sequence[str]) -> Mask:
    return positions(column, pa.array(values, column.type)) >= 0


def mask(column: pa.ChunkedArray) -> Mask:
    """A boolean column without nulls."""
    return column.to_numpy().astype(bool)


def identities(table: pa.Table) -> pa.ChunkedArray:
    """One string per row: the person's identity within its shard."""
    person = table["person"].cast(pa.string())
    return pc.call_function("binary_join_element_wise", [table["key"], person, pa.scalar("\x1f")])


def positions(column: pa.ChunkedArray, values: pa.Array | pa.ChunkedArray) -> Int64[np.ndarray, "N"]:
    """Where each element first occurs in `values`, -1 where it does not."""
    value_set = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    found = pc.call_function("index_in", [column], pc.SetLookupOptions(value_set))
    return found.fill_null(-1).to_numpy().astype(np.int64)
