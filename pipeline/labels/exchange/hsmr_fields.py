"""The fields by which HSMR's converted tars carry a SKEL label in the dict of a person: orig_poses, flip_poses, ..."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from pipeline.labels.exchange.fitting_loss import MM_PER_M, TAKEN_BELOW_IN_TARS
from schemas.gender import Gender, gender_of_word
from schemas.skel import BETAS_LIMIT, N_BETAS, N_Q, mirror_table


@dataclass(frozen=True, slots=True, kw_only=True)
class HsmrLabel:
    """A label as HSMR stores it: q (46,) rad, betas (10,), pve_max m and kp2d_err crop units, NaN where unknown.

    smpl_pve_max_mm: our own field: the distance to the SMPL pseudo-label, however the label was made, mm, NaN where
    unknown; None in files of others, whose labels are conversions as far as `pve_max` is their distance. gender: ours
    too: of the body that the label belongs to, None in files of others.
    """

    q: Float32[np.ndarray, "46"]
    betas: Float32[np.ndarray, "10"]
    pve_max: float
    kp2d_err: float
    smpl_pve_max_mm: float | None = None
    gender: Gender | None = None

    @property
    def distance_mm(self) -> float:
        """PVE max to the SMPL pseudo-label as the file says it, mm; NaN where it does not."""
        return self.pve_max * MM_PER_M if self.smpl_pve_max_mm is None else self.smpl_pve_max_mm

    @property
    def passes(self) -> bool:
        """Does it pass the original's filters, as far as the file tells?"""
        return not self.pve_max >= TAKEN_BELOW_IN_TARS and bool((np.abs(self.betas) <= BETAS_LIMIT).all())


def label_fields(label: HsmrLabel | None) -> dict[str, Any]:
    """The fields of a person, for the photo (`orig_`) and for its mirror image (`flip_`); without a label flags are 0.

    The mirror of a pose within HSMR's joint limits may leave them: their left and right are no mirror images.
    """
    fields: dict[str, Any] = {}
    for prefix, mirrored in (("orig", False), ("flip", True)):
        has = np.float32(label is not None)
        q = np.zeros(N_Q, np.float32) if label is None else mirror(label.q) if mirrored else label.q
        fields |= {
            f"{prefix}_poses": np.array(q, np.float32),
            f"{prefix}_betas": np.zeros(N_BETAS, np.float32) if label is None else np.array(label.betas, np.float32),
            f"{prefix}_pve_max": np.float32(np.nan if label is None else label.pve_max),
            f"{prefix}_kp2d_err": np.float32(np.nan if label is None else label.kp2d_err),
            f"{prefix}_smpl_pve_max_mm": np.float64(np.nan if label is None else label.distance_mm),
            f"{prefix}_gender": "" if label is None else label.gender or "",
            f"{prefix}_has_poses": has,
            f"{prefix}_has_betas": has,
        }
    return fields


def label_of(person: Mapping[str, Any]) -> HsmrLabel | None:
    """The label in the dict of a person, None where there is none: `better_of` the two that may be in it."""
    return better_of(*(_label_in(person, prefix) for prefix in ("orig", "flip")))


def better_of(photo: HsmrLabel | None, mirror_image: HsmrLabel | None) -> HsmrLabel | None:
    """The label of the photo; that of its mirror image, mirrored back, where it is the only one to be had or to pass
    the original's filters. It may leave joint limits, whose left and right are no mirror images.
    """
    back = None if mirror_image is None else replace(mirror_image, q=mirror(mirror_image.q))
    if photo is None or (back is not None and back.passes and not photo.passes):
        return back
    return photo


def checked_label(q: object, betas: object, flags: Sequence[object]) -> HsmrLabel | None:
    """A label of these numbers; None where it is switched off, or they are no finite 46 and 10."""
    pose, shape = _vector(q, N_Q), _vector(betas, N_BETAS)
    if pose is None or shape is None or not all(_scalar(flag) > 0 for flag in flags):
        return None
    return HsmrLabel(q=pose, betas=shape, pve_max=float("nan"), kp2d_err=float("nan"))


def _label_in(person: Mapping[str, Any], prefix: str) -> HsmrLabel | None:
    flags = [person.get(f"{prefix}_has_{name}", 1) for name in ("poses", "betas")]
    label = checked_label(person.get(f"{prefix}_poses"), person.get(f"{prefix}_betas"), flags)
    if label is None:
        return None
    pve_max, kp2d_err = (_scalar(person.get(f"{prefix}_{name}")) for name in ("pve_max", "kp2d_err"))
    own = person.get(f"{prefix}_smpl_pve_max_mm")
    distance = None if own is None else _scalar(own)
    gender = told_gender(person.get(f"{prefix}_gender"))
    return replace(label, pve_max=pve_max, kp2d_err=kp2d_err, smpl_pve_max_mm=distance, gender=gender)


def told_gender(value: object) -> Gender | None:
    """Of the body of a label, by our own field; None where it says nothing that we write."""
    try:
        return gender_of_word(value) if isinstance(value, str) else None
    except ValueError:
        return None


def mirror(q: Float32[np.ndarray, "*any 46"]) -> Float32[np.ndarray, "*any 46"]:
    """The pose in the mirrored photo, (..., 46) (docs/body_model.md)."""
    source, sign = mirror_table()
    return (sign * q[..., source]).astype(np.float32)


def _vector(value: object, size: int) -> np.ndarray | None:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.size != size:
        return None
    with np.errstate(over="ignore"):  # a number beyond float32 is not finite, which is looked at
        vector = value.reshape(size).astype(np.float32)
    return vector if np.isfinite(vector).all() else None


def _scalar(value: object) -> float:
    """A number in any of the forms met in published tars; NaN where there is none."""
    if isinstance(value, np.ndarray | np.generic) and value.size == 1 and value.dtype.kind in "biuf":
        return float(value.reshape(-1)[0])
    try:
        return float(value) if isinstance(value, int | float) else float("nan")
    except OverflowError:  # an integer of hundreds of digits
        return float("nan")
