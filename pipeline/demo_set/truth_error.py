"""How far labels are from the known truth (docs/objectives.md)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.body import Skel
from pipeline.image.camera import FOCAL, MIN_DEPTH
from pipeline.image.crop import CROP_PX
from pipeline.numerics.error_metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from schemas.keypoints import SCORED
from schemas.labels import IDENTITY_COLUMNS
from schemas.skel import q_limits

ERROR_SCHEMA: Final = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("person", pa.int32(), nullable=False),
        pa.field("mpjpe_mm", pa.float64(), nullable=False),
        pa.field("pa_mpjpe_mm", pa.float64(), nullable=False),
        pa.field("mpvpe_mm", pa.float64(), nullable=False),
        pa.field("kp2d_error_px", pa.float64(), nullable=False),
        pa.field("limit_violation_deg", pa.float64(), nullable=False),
    ]
)
"""One row per labelled person. 24 SKEL joints and the skin, aligned at joint 0, label and truth each in the axes of its
own crop camera, which need not be the same: a label is used in its own. kp2d error to the TRUE keypoints where both
land in the photo, mean over the 42 scored ones, px of the 256 crop; limit_violation_deg is the largest excess over a
joint limit."""

MEASURES: Final = ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_error_px", "limit_violation_deg")
_BATCH = 64
_VIOLATION_FLOOR_DEG: Final = 0.1


def label_errors(labels: pa.Table, truth: pa.Table, skel: Skel) -> pa.Table:
    """Errors (ERROR_SCHEMA) of the labelled people of a generation that have a truth, in the truth's order.

    labels: LABEL_SCHEMA columns of one generation, at most a row per person, their cameras included; truth:
    TRUTH_SCHEMA; skel: the body that both refer to. Raises ValueError when a person has two rows.
    """
    row_of = _row_of_person(labels.filter(labels["has_label"]))
    people = [(index, row_of[who]) for index, who in enumerate(_identities(truth)) if who in row_of]
    true_rows, label_rows = (np.array(rows, np.int64) for rows in (zip(*people, strict=True) if people else ((), ())))
    labelled = labels.filter(labels["has_label"]).take(label_rows)
    true = truth.take(true_rows)
    parts = [
        _errors(skel, *(_Bodies.of(table.slice(start, _BATCH), skel) for table in (labelled, true)))
        for start in range(0, len(people), _BATCH)
    ]
    values = np.concatenate(parts) if parts else np.zeros((0, len(MEASURES)))
    identity = [true[name].cast(ERROR_SCHEMA.field(name).type) for name in IDENTITY_COLUMNS]
    return pa.Table.from_arrays([*identity, *(pa.array(column) for column in values.T)], schema=ERROR_SCHEMA)


def mean_label_errors(
    rounds: Sequence[pa.Table], among: Collection[tuple[str, str, str, int]] | None = None
) -> list[dict[str, float]]:
    """Per round of `label_errors`: the mean of every measure over the people labelled in ALL of these rounds.

    among: the people (dataset, shard, key, person) to look at; default everyone. Also "people", how many these are, and
    "limit_violations", how many of them exceed a limit by over 0.1 degrees; without common people the means are NaN.
    """
    common = set.intersection(*(set(_identities(errors)) for errors in rounds)) if rounds else set()
    common = common if among is None else common.intersection(among)
    means = []
    for errors in rounds:
        kept = errors.filter(pa.array([who in common for who in _identities(errors)], pa.bool_()))
        values = {name: kept[name].to_numpy() for name in MEASURES}
        row = {name: float(column.mean()) if common else float("nan") for name, column in values.items()}
        over = int((values["limit_violation_deg"] > _VIOLATION_FLOOR_DEG).sum())
        means.append({**row, "people": len(common), "limit_violations": over})
    return means


@dataclass(frozen=True, slots=True)
class _Bodies:
    """q (B, 46), betas (B, 10), cam_t (B, 3) in crop cameras of this focal (B,), crop units, turned by rotation
    (B, 3, 3) to the photo's axes.
    """

    q: Tensor
    betas: Tensor
    cam_t: Tensor
    focal: Tensor
    rotation: Tensor

    @classmethod
    def of(cls, table: pa.Table, skel: Skel) -> Self:
        """Of a table's columns; a null focal length is HSMR's."""
        vectors = [_vectors(table, name) for name in ("q", "betas", "cam_t")]
        focal = table["focal"].fill_null(FOCAL).to_numpy()
        rotation = Rotation.from_rotvec(_vectors(table, "camera_turn").astype(np.float64)).as_matrix()
        return cls(*(torch.tensor(x, dtype=skel.dtype, device=skel.device) for x in (*vectors, focal, rotation)))

    def on_photo(self, skel: Skel) -> Float[Tensor, "B 44 2"]:
        """Keypoints in px of the photo from the crop's middle, over the crop's side; without the lens's distortion.

        Crop units of two cameras are not alike: each is a plane across its own line of sight.
        """
        places = (skel.keypoints(self.q, self.betas) + self.cam_t[:, None]) @ self.rotation.mT
        middle = self.rotation[:, None, :, 2]
        return self.focal[:, None, None] * (_flat(places) - _flat(middle))


def _errors(skel: Skel, label: _Bodies, true: _Bodies) -> NDArray[np.float64]:
    """(B, 5) in the order of MEASURES."""
    with torch.no_grad():
        body, true_body = (skel.forward(who.q, who.betas) for who in (label, true))
        points, true_points = (who.on_photo(skel)[:, list(SCORED)] for who in (label, true))
    distance_px = torch.linalg.vector_norm(points - true_points, dim=-1).mean(-1) * CROP_PX
    low, high = (torch.as_tensor(limit, dtype=skel.dtype, device=skel.device) for limit in q_limits())
    excess = torch.maximum(low - label.q, label.q - high)[:, 3:].amax(-1).clamp_min(0)
    columns = [
        mpjpe_mm(body.joints, true_body.joints, root=0),
        pa_mpjpe_mm(body.joints, true_body.joints),
        mpvpe_mm(body.skin_vertices, true_body.skin_vertices, body.joints[:, :1], true_body.joints[:, :1]),
        distance_px,
        torch.rad2deg(excess),
    ]
    return torch.stack(columns, -1).double().cpu().numpy()


def _flat(places: Float[Tensor, "*any 3"]) -> Float[Tensor, "*any 2"]:
    return places[..., :2] / places[..., 2:].clamp_min(MIN_DEPTH)


def _vectors(table: pa.Table, name: str) -> NDArray[np.float32]:
    flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(table), -1)


def _identities(table: pa.Table) -> list[tuple[str, str, str, int]]:
    return list(zip(*(table[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True))


def _row_of_person(labels: pa.Table) -> dict[tuple[str, str, str, int], int]:
    people = _identities(labels)
    row_of = {who: row for row, who in enumerate(people)}
    if len(row_of) != len(people):
        repeated = next(who for row, who in enumerate(people) if row_of[who] != row)
        raise ValueError(f"{repeated} has several labels; give the rows of one generation only")
    return row_of
