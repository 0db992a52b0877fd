"""A recorded SMPL motion as AMASS has it, or as a pickle of the same keys (Mahmood et al., ICCV 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from jaxtyping import Float32, Shaped

from pipeline.labels.exchange.npz_file import npz_arrays
from pipeline.labels.files.errors import LabelStoreError
from pipeline.motions.errors import MotionFileError
from pipeline.safe_pickle import BODY_GLOBALS, ForbiddenPickleError, MalformedPickleError, restricted_loads
from schemas.person import MAX_FPS, MIN_FPS
from schemas.skel import N_BETAS, N_JOINTS

MotionGender = Literal["male", "female", "neutral"]

_SMPL, _SMPL_H, _SMPL_X = 3 * N_JOINTS, 156, 165
_BODY: Final = 66
"""Numbers that SMPL and SMPL-H have in common: root and 21 joints. SMPL's two hands have no like in SMPL-H."""
_RATES: Final = ("mocap_framerate", "mocap_frame_rate")
_NAMES: Final = ("poses", "betas", "trans", "gender", *_RATES)
_GENDERS: Final = {"m": "male", "male": "male", "f": "female", "female": "female", "neutral": "neutral"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmplMotion:
    """A person over time: pose (T, 24, 3) axis-angle rad, trans (T, 3) m, betas (10,), frames a second; gender as the
    file says, None where it does not.
    """

    pose: Float32[np.ndarray, "T 24 3"]
    trans: Float32[np.ndarray, "T 3"]
    betas: Float32[np.ndarray, "10"]
    fps: float
    gender: MotionGender | None

    def every(self, step: int) -> "SmplMotion":
        """One frame in `step`."""
        return SmplMotion(
            pose=self.pose[::step],
            trans=self.trans[::step],
            betas=self.betas,
            fps=self.fps / step,
            gender=self.gender,
        )


def read_smpl_motion(file: BinaryIO, address: str, *, fps: float | None = None) -> SmplMotion:
    """The motion in an open .npz or pickle: `poses` of 156 (SMPL-H, AMASS) or 72 (SMPL) numbers a frame, `trans`,
    `betas`, `gender`, `mocap_framerate`. Betas beyond the tenth and hands are left out.

    fps: for files that name no rate. Raises MotionFileError.
    """
    raw = _raw(file, address)
    if "poses" not in raw:
        raise MotionFileError(f"{address} has no poses: a file of shapes, or no motion at all. Leave it out.")
    poses = _numbers(raw["poses"], "poses", address)
    if poses.ndim != 2 or not len(poses) or poses.shape[1] not in (_SMPL, _SMPL_H):
        hint = " That is SMPL-X, whose betas are of another body." if poses.shape[1:] == (_SMPL_X,) else ""
        raise MotionFileError(
            f"poses of {address} has shape {poses.shape}: (T, 156) of SMPL-H or (T, 72) of SMPL expected.{hint}"
        )
    count = len(poses)
    trans = _numbers(raw.get("trans", np.zeros((count, 3))), "trans", address)
    if trans.shape != (count, 3):
        raise MotionFileError(
            f"trans of {address} has shape {trans.shape}: ({count}, 3) expected, as poses has frames."
        )
    if not (np.isfinite(poses).all() and np.isfinite(trans).all()):
        raise MotionFileError(f"poses or trans of {address} hold NaN or infinity: the file is damaged.")
    pose = np.zeros((count, _SMPL), np.float32)
    kept = _SMPL if poses.shape[1] == _SMPL else _BODY
    pose[:, :kept] = poses[:, :kept]
    return SmplMotion(
        pose=pose.reshape(count, N_JOINTS, 3),
        trans=trans.astype(np.float32),
        betas=_betas(raw, address),
        fps=_rate(raw, address, fps),
        gender=_gender(raw, address),
    )


def _raw(file: BinaryIO, address: str) -> Mapping[str, Any]:
    try:
        if file.read(2) == b"PK":
            file.seek(0)
            return npz_arrays(file, _NAMES, objects=True, name=address)
        file.seek(0)
        found = restricted_loads(file.read(), allowed=BODY_GLOBALS, encoding="latin1")  # AMASS's are Python 2's
    except (LabelStoreError, ForbiddenPickleError, MalformedPickleError) as error:
        raise MotionFileError(f"{address} is no motion that can be read safely: {error}") from error
    if not isinstance(found, dict):
        raise MotionFileError(f"{address} holds a {type(found).__name__}: a dict with poses, betas and trans expected.")
    return {key: value for key, value in found.items() if isinstance(key, str)}


def _numbers(value: Any, name: str, address: str) -> Shaped[np.ndarray, "..."]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise MotionFileError(f"{name} of {address} is {kind}: an array of numbers expected.")
    return value


def _betas(raw: Mapping[str, Any], address: str) -> Float32[np.ndarray, "10"]:
    """Files of one shape a frame must agree with themselves."""
    betas = _numbers(raw.get("betas", np.zeros(N_BETAS)), "betas", address)
    if betas.ndim == 2 and len(betas) and (betas == betas[:1]).all():
        betas = betas[0]
    if betas.ndim != 1 or len(betas) < N_BETAS or not np.isfinite(betas).all():
        raise MotionFileError(
            f"betas of {address} has shape {betas.shape}: at least {N_BETAS} finite numbers expected, "
            "one shape a motion."
        )
    return betas[:N_BETAS].astype(np.float32)


def _rate(raw: Mapping[str, Any], address: str, default: float | None) -> float:
    name = next((name for name in _RATES if name in raw), None)
    value = default if name is None else raw[name]
    if value is None:
        raise MotionFileError(f"{address} names no frame rate ({' or '.join(_RATES)}). Say it with --fps.")
    array = np.asarray(value)
    rate = float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iuf" else np.nan
    if not MIN_FPS <= rate <= MAX_FPS:
        raise MotionFileError(
            f"{name or '--fps'} of {address} is {value!r}: {MIN_FPS:g} to {MAX_FPS:g} a second expected."
        )
    return rate


def _gender(raw: Mapping[str, Any], address: str) -> MotionGender | None:
    if "gender" not in raw:
        return None
    value = raw["gender"]
    value = value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    found = _GENDERS.get(text.strip().lower().removeprefix("b'").removesuffix("'"))
    if found is None:
        raise MotionFileError(f"gender of {address} is {text[:40]!r}: male, female or neutral expected.")
    return found  # pyrefly: ignore
