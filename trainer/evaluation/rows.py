"""The table of an evaluation: a row per person and checkpoint, Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq


def _list(of: pa.DataType, width: int = -1, *, gaps: bool = False) -> pa.DataType:
    return pa.list_(pa.field("element", of, nullable=gaps), width)


ROW_SCHEMA: Final = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("network", pa.string(), nullable=False),
        pa.field("gender", pa.string()),
        pa.field("person", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        pa.field("photo_width", pa.int32(), nullable=False),
        pa.field("photo_height", pa.int32(), nullable=False),
        pa.field("center", _list(pa.float64(), 2), nullable=False),
        pa.field("side", pa.float64(), nullable=False),
        pa.field("mpjpe_mm", pa.float64()),
        pa.field("pa_mpjpe_mm", pa.float64()),
        pa.field("mpvpe_mm", pa.float64()),
        pa.field("pa_mpvpe_mm", pa.float64()),
        pa.field("keypoint_error_box", _list(pa.float64(), 44, gaps=True)),
        pa.field("mean_error_box", pa.float64()),
        pa.field("violation_deg", _list(pa.float64(), 4), nullable=False),
        pa.field("violation_first_deg", _list(pa.float64(), 4), nullable=False),
        pa.field("pose", _list(pa.float64()), nullable=False),
        pa.field("betas", _list(pa.float64(), 10), nullable=False),
        pa.field("cam_t", _list(pa.float64(), 3), nullable=False),
        pa.field("focal", pa.float64(), nullable=False),
        pa.field("camera_turn", _list(pa.float64(), 3), nullable=False),
    ]
)
"""network: `hsmr` or `hmr2`; gender: of the SKEL body, null for SMPL's; person: place in the file. Which errors are
there depends on the data set. keypoint_error_box: of the box's longer side, null where the truth's confidence is too
low; mean_error_box: their mean. violation_deg: l_knee, r_knee, l_elbow, r_elbow, 0 within the limits
(`trainer.evaluation.violations`). pose: q (46) or SMPL's axis-angles (72), rad; cam_t m, focal crop units, camera_turn
rad as in a table of predictions.
"""


def row_table(columns: dict[str, Sequence[Any]]) -> pa.Table:
    """Columns by name; what is left out is null."""
    count = len(columns["person"])
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in ROW_SCHEMA]
    return pa.table(arrays, schema=ROW_SCHEMA)


def write_rows(path: Path, rows: pa.Table, metadata: dict[str, str]) -> None:
    """All at once."""
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(rows.replace_schema_metadata(metadata), partial, compression="zstd")
    partial.replace(path)
