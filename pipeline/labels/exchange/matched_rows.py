"""Labels of other people's files that are found by photo and box: SMPL or SKEL rows, and the cameras they hold in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from pipeline.body.representation import turn_pelvis
from pipeline.image.person_camera import person_camera
from pipeline.image.person_view import turned_smpl
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.photo_boxes import BoxIndex, PhotoBoxes, Undecided
from pipeline.labels.files.errors import LabelStoreError
from schemas.camera import CameraSource, Lens
from schemas.person import Person, SmplLabel

PX_PER_SCALE: Final = 200.0
"""Of HMR's `scale`, in which boxes are often told."""
LARGEST_SCALE: Final = 20.0
"""A median above it is of boxes in px: it would be 4,000 px in the other unit, and nobody's box is under 20 px."""
_LARGEST_ANGLE: Final = 1e3  # rad, beyond which float32 has no digits left for one


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedRows:
    """N rows of a file, or of several. smpl: `pose` is SMPL's (N, 72), axis-angle rad; else SKEL's q (N, 46). betas
    (N, 10). lens (N, 3): focal length and principal point, px, of the photo's camera, in whose axes the pose holds;
    None: it holds in those of the crop. refused: why rows are not used, and how many; usable (N,): the others.
    """

    boxes: PhotoBoxes
    smpl: bool
    pose: Float32[np.ndarray, "N W"]
    betas: Float32[np.ndarray, "N 10"]
    lens: Float64[np.ndarray, "N 3"] | None
    usable: Bool[np.ndarray, "N"]
    refused: Mapping[str, int]


class MatchedSource:
    """Labels that are found by photo and box, to be imported. Raises LabelStoreError where no row can be used."""

    def __init__(self, rows: MatchedRows, uri: str, digest: str) -> None:
        self.uri, self.digest, self.rows = uri, digest, rows
        if not rows.usable.any():
            raise LabelStoreError(f"{uri}: none of {len(rows.usable)} rows can be used ({_counts(rows.refused)}).")
        self._index = BoxIndex(rows.boxes)

    @property
    def summary(self) -> str:
        """How many rows can be used, and why not the others."""
        used, count = int(self.rows.usable.sum()), len(self.rows.usable)
        return f"{used} of {count} rows can be used" + (f" ({_counts(self.rows.refused)})" if used < count else "")

    def of_shard(
        self, dataset: str, shard: str, people: Sequence[Person]
    ) -> list[HsmrLabel | SmplLabel | Undecided | None]:
        """As `LabelSource.of_shard`, in the axes of each person's crop."""
        found = self._index.find(people)
        return [self._label(row, who) if isinstance(row, int) else row for row, who in zip(found, people, strict=True)]

    def _label(self, row: int, person: Person) -> HsmrLabel | SmplLabel | None:
        if not self.rows.usable[row]:
            return None
        pose, betas, into_crop = self.rows.pose[row].copy(), self.rows.betas[row].copy(), self._into_crop(row, person)
        if self.rows.smpl:
            smpl = SmplLabel(pose=pose.reshape(24, 3), betas=betas)
            return smpl if into_crop is None else turned_smpl(smpl, into_crop)
        unknown = float("nan")  # what it is a conversion of is not the shard's pseudo-label
        q = pose if into_crop is None else _turned(pose, into_crop)
        return HsmrLabel(q=q, betas=betas, pve_max=unknown, kp2d_err=unknown, smpl_pve_max_mm=unknown)

    def _into_crop(self, row: int, person: Person) -> Float64[np.ndarray, "3 3"] | None:
        """From the axes of the photo's camera to those of the crop's; None where the pose holds in these."""
        if self.rows.lens is None:
            return None
        focal, *middle = self.rows.lens[row]
        lens = Lens(focal_px=float(focal), principal_point=np.array(middle), source=CameraSource.ESTIMATED)
        return person_camera(lens, person.center, person.side).rotation.T


def joined(parts: Sequence[MatchedRows]) -> MatchedRows:
    """The rows of several files of one form. Raises LabelStoreError where only some of them have cameras."""
    lenses = [part.lens for part in parts if part.lens is not None]
    if lenses and len(lenses) < len(parts):
        raise LabelStoreError("Some of these files state cam_int and some do not: import them one after the other.")
    refused: dict[str, int] = {}
    for part in parts:
        for reason, count in part.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return MatchedRows(
        boxes=PhotoBoxes(
            images=[image for part in parts for image in part.boxes.images],
            center=np.concatenate([part.boxes.center for part in parts]),
            side=np.concatenate([part.boxes.side for part in parts]),
        ),
        smpl=parts[0].smpl,
        pose=np.concatenate([part.pose for part in parts]),
        betas=np.concatenate([part.betas for part in parts]),
        lens=np.concatenate(lenses) if lenses else None,
        usable=np.concatenate([part.usable for part in parts]),
        refused=refused,
    )


def matched_rows(
    boxes: PhotoBoxes,
    pose: Float64[np.ndarray, "N W"],
    betas: Float64[np.ndarray, "N B"],
    cameras: Float64[np.ndarray, "N 3 3"] | None,
    gates: Mapping[str, Bool[np.ndarray, "N"]],
    *,
    smpl: bool,
) -> MatchedRows:
    """Checked rows. betas: of which the first ten count; cameras: cam_int, px; gates: reason -> rows refused for it.

    A row that fails several gates is counted for the first of them; those of the format come before ours.
    """
    lens = None if cameras is None else cameras[:, (0, 0, 1), (0, 2, 2)]
    shape = betas[:, :10]
    sound = (np.abs(pose) < _LARGEST_ANGLE).all(1) & (np.abs(shape) < _LARGEST_ANGLE).all(1)
    own = {"pose or shape not finite": ~sound}
    if lens is not None:
        own["no camera in cam_int"] = ~(np.isfinite(lens).all(1) & (np.abs(lens) < 1e6).all(1) & (lens[:, 0] > 1))
    usable, refused = np.ones(len(pose), bool), {}
    for reason, failed in {**gates, **own}.items():
        refused[reason] = int((usable & failed).sum())
        usable &= ~failed
    return MatchedRows(
        boxes=boxes,
        smpl=smpl,
        pose=_finite32(pose),
        betas=_finite32(shape),
        lens=lens,
        usable=usable,
        refused={reason: count for reason, count in refused.items() if count},
    )


def box_sides(scale: Float64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N"]:
    """Sides (N,) px of square boxes of these widths and heights, (N, 1 or 2), in px or, as HMR does, in 200 px."""
    larger = scale.max(1)
    known = larger[np.isfinite(larger)]
    in_px = len(known) > 0 and float(np.median(known)) > LARGEST_SCALE
    with np.errstate(over="ignore"):
        return larger if in_px else larger * PX_PER_SCALE


def above(loss: Float64[np.ndarray, "N"], limit: float) -> Bool[np.ndarray, "N"]:
    """Whose loss does not pass the limit; NaN does not."""
    return ~(loss <= limit)


def _turned(q: Float32[np.ndarray, "46"], rotation: Float64[np.ndarray, "3 3"]) -> Float32[np.ndarray, "46"]:
    return turn_pelvis(torch.as_tensor(q, dtype=torch.float64), torch.as_tensor(rotation)).numpy().astype(np.float32)


def _finite32(values: Float64[np.ndarray, "N W"]) -> Float32[np.ndarray, "N W"]:
    sound = np.abs(values) < _LARGEST_ANGLE
    return np.where(sound, values, 0.0).astype(np.float32)


def _counts(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in refused.items()) or "there are none"
