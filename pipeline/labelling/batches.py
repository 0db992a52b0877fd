"""People and labels as arrays: what the fits and the acceptance work on, and how it meets the label table."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pyarrow as pa
from jaxtyping import AbstractDtype, Bool, Float32, Float64, Int32, Int64, Integer
from numpy.typing import ArrayLike, NDArray

from pipeline.image.camera import FOCAL
from pipeline.image.person_view import person_view
from schemas.gender import DEFAULT_GENDER
from schemas.keypoints import N_KEYPOINTS
from schemas.labels import LABEL_SCHEMA, Decision, StartSource
from schemas.person import Person, PersonId
from schemas.skel import N_BETAS

VECTORS: Final = {f.name: f.type.list_size for f in LABEL_SCHEMA if pa.types.is_fixed_size_list(f.type)}
SCALARS: Final = tuple(f.name for f in LABEL_SCHEMA if pa.types.is_float64(f.type))

if TYPE_CHECKING:  # there every dtype of jaxtyping stands for the array alone, but not one of our own
    from jaxtyping import Shaped as Object
else:

    class Object(AbstractDtype):
        """The dtype of references to Python objects, which jaxtyping lacks."""

        dtypes = ("object_",)


Strings = Object[np.ndarray, "N"]
"""Of Decision, StartSource or Gender, or the plain strings of a table, which are equal to them. Not of numpy's strings,
whose fixed width would cut a longer one off.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonBatch:
    """N people as their own cameras see them: ids; keypoints (N, 44, 3) crop units and confidence; keypoints_3d
    (N, 44, 4) m and confidence; smpl_pose (N, 24, 3) rad and smpl_betas (N, 10), zero where not has_smpl (N,); focal
    (N,) crop units, camera_source (N,), and camera_turn (N, 3), the rotation vector to the photo's camera, rad; gender
    (N,): of the body that each is given.
    """

    ids: tuple[PersonId, ...]
    keypoints: Float32[np.ndarray, "N 44 3"]
    keypoints_3d: Float32[np.ndarray, "N 44 4"]
    smpl_pose: Float32[np.ndarray, "N 24 3"]
    smpl_betas: Float32[np.ndarray, "N 10"]
    has_smpl: Bool[np.ndarray, "N"]
    focal: Float64[np.ndarray, "N"]
    camera_source: Strings
    camera_turn: Float32[np.ndarray, "N 3"]
    gender: Strings

    @classmethod
    def from_people(cls, people: Sequence[Person]) -> Self:
        """Stack people; keypoints go from photo px to the crop units of each person's own box."""
        views = [person_view(person) for person in people]
        count = len(people)
        pose, betas = np.zeros((count, 24, 3), np.float32), np.zeros((count, N_BETAS), np.float32)
        for i, view in enumerate(views):
            if view.smpl is not None:
                pose[i], betas[i] = view.smpl.pose, view.smpl.betas
        return cls(
            ids=tuple(p.id for p in people),
            keypoints=np.stack([v.keypoints for v in views]) if views else np.zeros((0, N_KEYPOINTS, 3), np.float32),
            keypoints_3d=np.stack([v.keypoints_3d for v in views]) if views else np.zeros((0, 44, 4), np.float32),
            smpl_pose=pose,
            smpl_betas=betas,
            has_smpl=np.array([view.smpl is not None for view in views], dtype=bool),
            focal=np.array([view.focal for view in views], np.float64),
            camera_source=np.array([view.source for view in views], object),
            camera_turn=np.array([view.turn for view in views], np.float32).reshape(count, 3),
            gender=np.array([person.gender or DEFAULT_GENDER for person in people], object),
        )

    def take(self, rows: Integer[np.ndarray, "M"]) -> Self:
        """The people at these positions, in this order."""
        ids = tuple(self.ids[i] for i in rows)
        arrays = {item.name: getattr(self, item.name)[rows] for item in fields(self) if item.name != "ids"}
        return replace(self, ids=ids, **arrays)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBatch:
    """Labels of N people, the columns of LABEL_SCHEMA but `round`. Vectors are zero where not has_label; scalars are
    NaN, iterations -1, photo_group 0 and gender None where unknown (null in the table).
    """

    ids: tuple[PersonId, ...]
    has_label: Bool[np.ndarray, "N"]
    q: Float32[np.ndarray, "N 46"]
    betas: Float32[np.ndarray, "N 10"]
    cam_t: Float32[np.ndarray, "N 3"]
    q_std: Float32[np.ndarray, "N 46"]
    anchor_q: Float32[np.ndarray, "N 46"]
    anchor_betas: Float32[np.ndarray, "N 10"]
    prediction_q: Float32[np.ndarray, "N 46"]
    prediction_q_std: Float32[np.ndarray, "N 46"]
    prediction_betas: Float32[np.ndarray, "N 10"]
    prediction_betas_std: Float32[np.ndarray, "N 10"]
    decision: Strings
    start_source: Strings
    kp2d_error: Float64[np.ndarray, "N"]
    parent_kp2d_error: Float64[np.ndarray, "N"]
    candidate_kp2d_error: Float64[np.ndarray, "N"]
    kp2d_heldout_error: Float64[np.ndarray, "N"]
    kp2d_heldout_in_50: Float64[np.ndarray, "N"]
    kp2d_heldout_in_90: Float64[np.ndarray, "N"]
    energy: Float64[np.ndarray, "N"]
    parent_energy: Float64[np.ndarray, "N"]
    pve_mean_mm: Float64[np.ndarray, "N"]
    pve_max_mm: Float64[np.ndarray, "N"]
    limit_violation: Float64[np.ndarray, "N"]
    iterations: Int32[np.ndarray, "N"]
    focal: Float64[np.ndarray, "N"]
    camera_source: Strings
    camera_turn: Float32[np.ndarray, "N 3"]
    height_m: Float64[np.ndarray, "N"]
    photo_group: Int64[np.ndarray, "N"]
    gender: Strings

    @classmethod
    def of(cls, ids: Sequence[PersonId], **columns: ArrayLike) -> Self:
        """Labels of these people with the columns that are known, one value a person; the others are unknown.

        Unknown is zero in a vector, NaN in a scalar, -1 iterations, group 0, None in text. Raises AttributeError for a
        name that is no column.
        """
        count = len(ids)
        vectors: dict[str, Any] = {name: np.zeros((count, width), np.float32) for name, width in VECTORS.items()}
        unlabelled = cls(
            ids=tuple(ids),
            has_label=np.zeros(count, bool),
            decision=np.full(count, Decision.NO_LABEL, object),
            start_source=np.full(count, StartSource.NONE, object),
            iterations=np.full(count, -1, np.int32),
            camera_source=np.full(count, None, object),
            photo_group=np.zeros(count, np.int64),
            gender=np.full(count, None, object),
            **{name: np.full(count, np.nan) for name in SCALARS},
            **vectors,
        )
        return unlabelled.with_columns(**columns)

    @property
    def known_focal(self) -> Float64[np.ndarray, "N"]:
        """The focal lengths that the labels hold for, crop units: HSMR's where the table does not say."""
        return np.where(np.isnan(self.focal), FOCAL, self.focal)

    def under_cameras_of(self, batch: PersonBatch) -> Self:
        """The same labels, said to hold for the cameras of these people."""
        source = batch.camera_source.copy()
        source[~self.has_label] = None
        focal = np.where(self.has_label, batch.focal, np.nan)
        return self.with_columns(focal=focal, camera_source=source, camera_turn=batch.camera_turn)

    def with_columns(self, **columns: ArrayLike) -> Self:
        """The same people with other values in these columns, in the type of the column."""
        typed: dict[str, Any] = {
            name: np.asarray(values, dtype=getattr(self, name).dtype) for name, values in columns.items()
        }
        return replace(self, **typed)

    def put(self, rows: Integer[np.ndarray, "M"], labels: Self) -> Self:
        """These labels in every column of the people at `rows`, in their order; the other people keep theirs."""

        def column(name: str) -> NDArray:
            values = getattr(self, name).copy()
            values[rows] = getattr(labels, name)
            return values

        return replace(self, **{item.name: column(item.name) for item in fields(self) if item.name != "ids"})

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Integer[np.ndarray, "M"]) -> Self:
        """The labels at these positions, in this order."""
        ids = tuple(self.ids[i] for i in rows)
        arrays = {item.name: getattr(self, item.name)[rows] for item in fields(self) if item.name != "ids"}
        return replace(self, ids=ids, **arrays)

    def to_table(self, round: int) -> pa.Table:
        """Rows of LABEL_SCHEMA, in the order of the batch."""
        columns: dict[str, pa.Array] = {
            "round": pa.array(np.full(len(self), round, np.int32)),
            "dataset": pa.array([i.dataset for i in self.ids], pa.string()),
            "shard": pa.array([i.shard for i in self.ids], pa.string()),
            "key": pa.array([i.key for i in self.ids], pa.string()),
            "person": pa.array([i.person for i in self.ids], pa.int32()),
            "has_label": pa.array(self.has_label),
            "decision": pa.array([str(d) for d in self.decision], pa.string()),
            "start_source": pa.array([str(s) for s in self.start_source], pa.string()),
            "iterations": pa.array(self.iterations, mask=self.iterations < 0),
            "camera_source": pa.array([None if s is None else str(s) for s in self.camera_source], pa.string()),
            "photo_group": pa.array(self.photo_group, mask=self.photo_group == 0),
            "gender": pa.array(self.gender.tolist(), pa.string()),
        }
        for name in VECTORS:
            values = np.where(self.has_label[:, None], getattr(self, name), np.float32(0))
            columns[name] = _vectors(values, LABEL_SCHEMA.field(name).type)
        for name in SCALARS:
            values = getattr(self, name)
            columns[name] = pa.array(values, pa.float64(), mask=~np.isfinite(values))
        return pa.table([columns[name] for name in LABEL_SCHEMA.names], schema=LABEL_SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table, ids: Sequence[PersonId]) -> Self:
        """The labels of `ids`, in that order, out of a label table; has_label is false for people the table lacks."""
        names = ("dataset", "shard", "key", "person")
        rows = zip(*(table[name].to_pylist() for name in names), strict=True)
        place = {PersonId(*row): i for i, row in enumerate(rows)}
        index = np.array([place.get(PersonId(*i), -1) for i in ids], dtype=np.int64)
        known = index >= 0

        def column(name: str, missing: object, dtype: type) -> NDArray:
            values = np.array([missing if v is None else v for v in table[name].to_pylist()], dtype=dtype)
            return np.array([values[i] if i >= 0 else missing for i in index], dtype=dtype)

        vectors: dict[str, Any] = {name: _aligned(table, name, width, index) for name, width in VECTORS.items()}
        return cls(
            ids=tuple(ids),
            has_label=column("has_label", False, bool) & known,
            decision=column("decision", "", object),
            start_source=column("start_source", "none", object),
            iterations=column("iterations", -1, np.int32),
            camera_source=column("camera_source", None, object),
            photo_group=column("photo_group", 0, np.int64),
            gender=column("gender", None, object),
            **{name: column(name, np.nan, np.float64) for name in SCALARS},
            **vectors,
        )


def _vectors(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _aligned(table: pa.Table, name: str, width: int, index: NDArray[np.int64]) -> np.ndarray:
    """Vectors (N, width) of the rows `index`, zero where it is -1; read without a copy per row."""
    chunks = [np.asarray(chunk.flatten()).reshape(-1, width) for chunk in table[name].chunks]
    values = np.concatenate([*chunks, np.zeros((1, width), np.float32)]).astype(np.float32)
    return values[index]
