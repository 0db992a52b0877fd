"""Types of columns that several tables have."""

import pyarrow as pa


def float_vector(width: int) -> pa.DataType:
    """So many float32 numbers in every row, none of them null."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), width)
