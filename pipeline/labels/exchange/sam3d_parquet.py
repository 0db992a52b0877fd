"""The annotation rows of SAM 3D Body (Parquet, one row a person), as far as they have an SMPL conversion.

Their own body is MHR, which we have none of: a row that states nothing else is counted, not used (docs/exchange.md).
"""

from collections.abc import Iterator
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float64

from pipeline.labels.exchange.matched_rows import MatchedRows, above, box_sides, joined, matched_rows
from pipeline.labels.exchange.photo_boxes import PhotoBoxes
from pipeline.labels.files.errors import LabelStoreError

BATCH_ROWS: Final = 4096
MAX_ROWS: Final = 1_000_000
"""Of one file; the released ones hold a shard each."""
MAX_VALUES_PER_ROW: Final = 512
"""Of a column that we read; the longest, a pose, has 72. Repeated values are a few bytes in the file."""
MAX_NAME_BYTES: Final = 1024
_IMAGE, _BOX, _BOX_FORM = "image", "bbox", "bbox_format"
_CENTER, _SCALE, _CAMERA = "bbox_center", "bbox_scale", "cam_int"
_VALID, _LOSS = "mhr_valid", "loss"
_POSE, _ROOT, _BODY, _BETAS = "smpl_pose", "smpl_global_orient", "smpl_body_pose", "smpl_betas"
_SMPL: Final = (_POSE, _ROOT, _BODY, _BETAS)
_COLUMNS: Final = (_IMAGE, _BOX, _BOX_FORM, _CENTER, _SCALE, _CAMERA, _VALID, _LOSS, *_SMPL)


def read_sam3d(path: str, max_loss: float | None = None) -> MatchedRows:
    """image text, bbox (4,) px as bbox_format says (xyxy where it is missing), or bbox_center (2,) and bbox_scale (1 or
    2,) px; mhr_valid bool; optional loss, needed by max_loss, and cam_int (3, 3) px. SMPL: smpl_pose (72,), or
    smpl_global_orient (3,) and smpl_body_pose (69,), axis-angle rad, and smpl_betas (10,).

    Raises LabelStoreError.
    """
    _check_sizes(path)
    try:
        with pq.ParquetFile(path) as file:
            columns = _known_columns(file, path)
        words = [name for name in (_IMAGE, _BOX_FORM) if name in columns]  # a long one may be repeated for every row
        with pq.ParquetFile(path, read_dictionary=words) as file:
            parts = [_Rows(path, batch).checked(max_loss) for batch in _batches(file, columns)]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: names in schema and columns differ
        raise LabelStoreError(f"{path} is no Parquet file that can be read: {str(error)[:200]}.") from error
    if not parts:
        raise LabelStoreError(f"{path} has no rows.")
    return joined(parts)


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def _check_sizes(path: str) -> None:
    """No column that we read claims more values than it may. By DuckDB: Arrow ends the process where statistics of a
    column are damaged and somebody asks for its metadata.
    """
    query = "SELECT row_group_num_rows, path_in_schema, num_values FROM parquet_metadata(?)"
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            chunks = connection.execute(query, [path]).fetchall()
    except duckdb.Error as error:
        raise LabelStoreError(f"{path} is no Parquet file that can be read: {str(error)[:200]}.") from error
    for rows, name, values in chunks:
        if name.split(",")[0] in _COLUMNS and values > MAX_VALUES_PER_ROW * rows:
            raise LabelStoreError(f"{path}: {name} claims {values} values in {rows} rows.")


def _known_columns(file: pq.ParquetFile, path: str) -> list[str]:
    """Those of our columns that the file has."""
    found = [name for name in _COLUMNS if name in file.schema_arrow.names]
    for name in (_IMAGE, _VALID):
        if name not in found:
            raise LabelStoreError(f"{path} has no column {name!r}, only {', '.join(file.schema_arrow.names[:30])}.")
    if not any(name in found for name in (_POSE, _BODY)):
        raise LabelStoreError(
            f"{path} has no SMPL conversion: {_POSE}, or {_ROOT} and {_BODY}, expected. MHR is no body that labels "
            f"could be made from; add these columns by its converter. It has {', '.join(file.schema_arrow.names[:30])}."
        )
    if file.metadata.num_rows > MAX_ROWS:
        raise LabelStoreError(f"{path} claims {file.metadata.num_rows} rows, at most {MAX_ROWS} expected.")
    return found


class _Rows:
    """A batch of rows, its columns checked one by one."""

    def __init__(self, path: str, batch: pa.RecordBatch) -> None:
        self._path, self._batch = path, batch

    def __contains__(self, name: str) -> bool:
        return name in self._batch.schema.names

    def checked(self, max_loss: float | None) -> MatchedRows:
        center, side = self._boxes()
        pose = self._pose()
        betas = self._numbers(_BETAS, (10,))
        unconverted = np.isnan(pose).all(axis=1) | np.isnan(betas).all(axis=1)  # null, as rows without one have it
        gates = {f"{_VALID} false": ~self._flags(_VALID)}
        if max_loss is not None:
            gates[f"{_LOSS} above {max_loss:g}"] = above(self._numbers(_LOSS, ())[:, 0], max_loss)
        gates["without an SMPL conversion"] = np.asarray(unconverted)
        cameras = self._numbers(_CAMERA, (9,)).reshape(-1, 3, 3) if _CAMERA in self else None
        boxes = PhotoBoxes(images=self._texts(_IMAGE), center=center, side=side)
        return matched_rows(boxes, pose, betas, cameras, gates, smpl=True)

    def _pose(self) -> Float64[np.ndarray, "N 72"]:
        if _POSE in self:
            return self._numbers(_POSE, (72,))
        return np.concatenate([self._numbers(_ROOT, (3,)), self._numbers(_BODY, (69,))], 1)

    def _boxes(self) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, "N"]]:
        if _BOX not in self:
            return self._numbers(_CENTER, (2,)), box_sides(self._numbers(_SCALE, (2,), (1,)))
        box = self._numbers(_BOX, (4,))
        forms = set(self._texts(_BOX_FORM)) if _BOX_FORM in self else {"xyxy"}
        if len(forms) != 1 or not forms <= {"xyxy", "xywh"}:
            raise LabelStoreError(f"{self._path}: {_BOX_FORM} is {', '.join(sorted(forms))}, xyxy or xywh expected.")
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is nobody's box
            size = box[:, 2:] - box[:, :2] if forms == {"xyxy"} else box[:, 2:]
            return box[:, :2] + size / 2, np.where((size > 0).all(1), size.max(1), np.nan)

    def _texts(self, name: str) -> list[str]:
        column = self._batch.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise self._wrong(name, str(column.type), "text")
        words = column.dictionary if pa.types.is_dictionary(column.type) else column
        longest = pc.max(pc.binary_length(words)).as_py() or 0  # pyrefly: ignore
        if longest > MAX_NAME_BYTES:
            raise self._wrong(name, f"text of {longest} bytes", f"at most {MAX_NAME_BYTES}")
        return [text or "" for text in column.to_pylist()]

    def _flags(self, name: str) -> Bool[np.ndarray, "N"]:
        """Null counts as false."""
        column = self._batch.column(name)
        if not pa.types.is_boolean(column.type):
            raise self._wrong(name, str(column.type), "bool")
        return np.array([bool(value) for value in column.to_pylist()], bool)

    def _numbers(self, name: str, *shapes: tuple[int, ...]) -> Float64[np.ndarray, "N W"]:
        """(N, width), NaN in rows that are null; of lists, which may be nested. (): plain numbers, as (N, 1)."""
        if name not in self:
            raise LabelStoreError(f"{self._path} has no column {name!r}.")
        column: Any = self._batch.column(name)
        widths = [int(np.prod(shape)) for shape in shapes]
        rows = np.arange(len(column))
        counts = np.where(np.asarray(column.is_null()), 0, 1)
        while _is_list(column.type):
            lengths = pc.fill_null(pc.list_value_length(column), 0)  # pyrefly: ignore
            counts = np.zeros(len(self._batch), np.int64)
            inner = np.asarray(lengths, np.int64)
            np.add.at(counts, rows, inner)
            rows = np.repeat(rows, inner)
            column = pc.list_flatten(column)  # pyrefly: ignore
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise self._wrong(name, str(self._batch.column(name).type), "numbers")
        width = next((width for width in widths if (counts[counts > 0] == width).all()), None)
        if width is None:
            met = sorted(set(counts.tolist()) - {0})[:5]
            raise self._wrong(name, f"lists of {', '.join(map(str, met))} numbers", " or ".join(map(str, widths)))
        found = np.full((len(counts), width), np.nan)
        if shapes == ((),):
            found[:, 0] = np.asarray(column.cast(pa.float64()).fill_null(np.nan))
        else:
            found[counts > 0] = np.asarray(column.cast(pa.float64()).fill_null(np.nan)).reshape(-1, width)
        return found

    def _wrong(self, name: str, found: str, expected: str) -> LabelStoreError:
        return LabelStoreError(f"{self._path}: {name} is {found}, {expected} expected.")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
