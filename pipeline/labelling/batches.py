"""People and labels as arrays: what the fits and the acceptance work on, and how it meets the label table."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.image.crop import to_crop_units
from schemas.keypoints import N_KEYPOINTS
from schemas.labels import LABEL_SCHEMA
from schemas.person import Person, PersonId
from schemas.skel import N_BETAS, N_Q

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

VECTORS = {"q": N_Q, "betas": N_BETAS, "cam_t": 3, "q_std": N_Q, "anchor_q": N_Q, "anchor_betas": N_BETAS}
SCALARS = (
    "kp2d_error",
    "parent_kp2d_error",
    "candidate_kp2d_error",
    "pve_mean_mm",
    "pve_max_mm",
    "limit_violation",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonBatch:
    """N people: ids; keypoints (N, 44, 3) crop units and confidence; keypoints_3d (N, 44, 4) m and confidence;
    smpl_pose (N, 24, 3) rad and smpl_betas (N, 10), zero where not has_smpl (N,).
    """

    ids: tuple[PersonId, ...]
    keypoints: Float32
    keypoints_3d: Float32
    smpl_pose: Float32
    smpl_betas: Float32
    has_smpl: Mask

    @classmethod
    def from_people(cls, people: Sequence[Person]) -> Self:
        """Stack people; keypoints go from photo px to the crop units of each person's own box."""
        count = len(people)
        pose, betas = np.zeros((count, 24, 3), np.float32), np.zeros((count, N_BETAS), np.float32)
        for i, person in enumerate(people):
            if person.smpl is not None:
                pose[i], betas[i] = person.smpl.pose, person.smpl.betas
        crops = [to_crop_units(p.keypoints_2d, p.center, p.side) for p in people]
        return cls(
            ids=tuple(p.id for p in people),
            keypoints=np.stack(crops) if crops else np.zeros((0, N_KEYPOINTS, 3), np.float32),
            keypoints_3d=np.stack([p.keypoints_3d for p in people]) if people else np.zeros((0, 44, 4), np.float32),
            smpl_pose=pose,
            smpl_betas=betas,
            has_smpl=np.array([p.smpl is not None for p in people], dtype=bool),
        )

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The people at these positions, in this order."""
        ids = tuple(self.ids[i] for i in rows)
        arrays = {item.name: getattr(self, item.name)[rows] for item in fields(self) if item.name != "ids"}
        return replace(self, ids=ids, **arrays)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBatch:
    """Labels of N people, the columns of LABEL_SCHEMA but `round`. Vectors are zero where not has_label; scalars are
    NaN and iterations -1 where unknown (null in the table).
    """

    ids: tuple[PersonId, ...]
    has_label: Mask
    q: Float32
    betas: Float32
    cam_t: Float32
    q_std: Float32
    anchor_q: Float32
    anchor_betas: Float32
    decision: NDArray[np.str_]
    start_source: NDArray[np.str_]
    kp2d_error: Float64
    parent_kp2d_error: Float64
    candidate_kp2d_error: Float64
    pve_mean_mm: Float64
    pve_max_mm: Float64
    limit_violation: Float64
    iterations: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> Self:
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
            **{name: column(name, np.nan, np.float64) for name in SCALARS},
            **vectors,
        )


def _vectors(values: Float32, kind: pa.DataType) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _aligned(table: pa.Table, name: str, width: int, index: NDArray[np.int64]) -> Float32:
    """Vectors (N, width) of the rows `index`, zero where it is -1; read without a copy per row."""
    chunks = [np.asarray(chunk.flatten()).reshape(-1, width) for chunk in table[name].chunks]
    values = np.concatenate([*chunks, np.zeros((1, width), np.float32)]).astype(np.float32)
    return values[index]
