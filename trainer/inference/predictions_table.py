"""The table of predictions and that of rejections: Parquet, written as a stream, complete or not there at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow_types import float_vector
from schemas.person import Rejection
from schemas.skel import N_BETAS, N_Q
from trainer.inference.placed_bodies import PlacedBodies
from trainer.inference.predicted_people import PosedPeople, PredictedPeople, SmplPeople

_OF_SKEL: Final = (
    pa.field("q", float_vector(N_Q), nullable=False),
    pa.field("betas", float_vector(N_BETAS), nullable=False),
    pa.field("cam_t", float_vector(3), nullable=False),
    pa.field("q_std", float_vector(N_Q), nullable=False),
    pa.field("gender", pa.string(), nullable=False),
)
_OF_SMPL: Final = (
    pa.field("smpl_pose", float_vector(72), nullable=False),
    pa.field("betas", float_vector(N_BETAS), nullable=False),
    pa.field("cam_t", float_vector(3), nullable=False),
)


def _schema(body: Sequence[pa.Field]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("dataset", pa.string(), nullable=False),
            pa.field("shard", pa.string(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
            pa.field("person", pa.int32(), nullable=False),
            pa.field("track_id", pa.string()),
            pa.field("frame", pa.int64()),
            pa.field("fps", pa.float64()),
            pa.field("photo_width", pa.int32(), nullable=False),
            pa.field("photo_height", pa.int32(), nullable=False),
            pa.field("center", float_vector(2), nullable=False),
            pa.field("side", pa.float32(), nullable=False),
            *body,
            pa.field("focal", pa.float64(), nullable=False),
            pa.field("camera_source", pa.string(), nullable=False),
            pa.field("camera_turn", float_vector(3), nullable=False),
            pa.field("pelvis", float_vector(3), nullable=False),
            pa.field("photo_focal_px", pa.float64(), nullable=False),
            pa.field("photo_principal_point", float_vector(2), nullable=False),
            pa.field("photo_cam_t", float_vector(3), nullable=False),
        ]
    )


PREDICTION_SCHEMA: Final = _schema(_OF_SKEL)
"""One row per person. q, q_std rad (q_std is 0 where nothing tells); gender: of the SKEL body; center, side px: the
square crop; cam_t m in its camera, whose focal length (crop units), source and turn are given as in a label row; pelvis
m: joint 0 without translation; photo_focal_px, photo_principal_point px, photo_cam_t m: `pipeline.export.photo_camera`.
shard is "" for a folder of images.
"""
SMPL_PREDICTION_SCHEMA: Final = _schema(_OF_SMPL)
"""The same of SMPL bodies: smpl_pose, 24 axis-angles rad, root first and in the axes of the crop's camera, as the
`body_pose` of a shard; betas are SMPL's.
"""

REFINED_FIELDS: Final = (
    pa.field("decision", pa.string(), nullable=False),
    pa.field("predicted_kp2d_error", pa.float64()),
    pa.field("kp2d_error", pa.float64()),
)
"""Further columns of refined predictions: see `trainer.inference.predicted_people.Refinement`."""

REJECTION_SCHEMA: Final = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("person", pa.int32()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


class PredictionsWriter:
    """Writes predictions.parquet, a row group per batch. It appears under its name when the block ends well, unless it
    would be empty.
    """

    def __init__(
        self, path: Path, metadata: Mapping[str, str], *, refined: bool, schema: pa.Schema = PREDICTION_SCHEMA
    ) -> None:
        fields = [*schema, *(REFINED_FIELDS if refined else ())]
        self._schema = pa.schema(fields, metadata={k: v.encode() for k, v in metadata.items()})
        self._path, self._partial, self._rows = path, _partial(path), 0

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._partial, self._schema, compression="zstd")
        return self

    def write(self, batch: PosedPeople, placed: PlacedBodies) -> None:
        """Append the rows of a batch."""
        columns = _columns(batch, placed)
        self._rows += len(batch)
        self._writer.write_table(pa.table([columns[name] for name in self._schema.names], schema=self._schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        if kind is None and self._rows:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    """All at once; an empty table when nothing was refused."""
    rows = {
        name: pa.array([getattr(item, name) for item in rejections], REJECTION_SCHEMA.field(name).type)
        for name in REJECTION_SCHEMA.names
    }
    pq.write_table(pa.table(rows, schema=REJECTION_SCHEMA), _partial(path), compression="zstd")
    _partial(path).replace(path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _columns(batch: PosedPeople, placed: PlacedBodies) -> dict[str, pa.Array]:
    people, photos = batch.people, batch.photos
    tracks = [person.track or (None, None) for person in people]
    columns: dict[str, pa.Array] = {
        "dataset": pa.array([p.id.dataset for p in people], pa.string()),
        "shard": pa.array([p.id.shard for p in people], pa.string()),
        "key": pa.array([p.id.key for p in people], pa.string()),
        "person": pa.array([p.id.person for p in people], pa.int32()),
        "track_id": pa.array([track for track, _ in tracks], pa.string()),
        "frame": pa.array([frame for _, frame in tracks], pa.int64()),
        "fps": pa.array([person.fps for person in people], pa.float64()),
        "photo_width": pa.array([photo.width for photo in photos], pa.int32()),
        "photo_height": pa.array([photo.height for photo in photos], pa.int32()),
        "center": _vectors(np.stack([p.center for p in people])),
        "side": pa.array([p.side for p in people], pa.float32()),
        "photo_focal_px": pa.array([camera.focal_px for camera in placed.cameras], pa.float64()),
        "betas": _vectors(batch.betas),
        "cam_t": _vectors(batch.cam_t),
        "pelvis": _vectors(placed.pelvis),
        "photo_principal_point": _vectors(np.array([camera[1:] for camera in placed.cameras])),
        "photo_cam_t": _vectors(placed.photo_cam_t),
        "focal": pa.array(batch.focal, pa.float64()),
        "camera_source": pa.array([str(source) for source in batch.camera_source], pa.string()),
        "camera_turn": _vectors(batch.camera_turn),
    }
    if isinstance(batch, SmplPeople):
        columns["smpl_pose"] = _vectors(batch.smpl_pose)
    if isinstance(batch, PredictedPeople):
        columns |= {
            "q": _vectors(batch.q),
            "q_std": _vectors(batch.q_std),
            "gender": pa.array(batch.genders, pa.string()),
        }
        columns |= _refined_columns(batch)
    return columns


def _refined_columns(batch: PredictedPeople) -> dict[str, pa.Array]:
    found = batch.refinement
    if found is None:
        return {}
    columns: dict[str, pa.Array] = {"decision": pa.array(found.decision, pa.string())}
    for name in ("predicted_kp2d_error", "kp2d_error"):
        values = getattr(found, name).astype(np.float64)
        columns[name] = pa.array(values, mask=~np.isfinite(values))
    return columns


def _vectors(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=float_vector(values.shape[1]))
