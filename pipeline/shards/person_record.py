"""One entry of data.pyd, the dict of a person: made from typed values, checked back into a Person (docs/formats.md)."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike, NDArray

from schemas.camera import CameraSource, Lens
from schemas.gender import Gender, gender_of_word
from schemas.keypoints import N_KEYPOINTS
from schemas.person import MAX_FPS, MIN_FPS, Person, PersonId, RejectionReason, SmplLabel

MIN_SIDE_PX = 4.0
MAX_SIDE_PER_PHOTO = 20.0
MIN_FOCAL_PER_PHOTO, MAX_FOCAL_PER_PHOTO = 0.1, 100.0  # of the longer side: 4 mm to 4 m on 35 mm film
_N_BETAS = 10
_N_POSE = 72
_MAX_TRACK_ID_CHARACTERS = 200


def person_record(
    *,
    keypoints_2d: ArrayLike,
    center: ArrayLike,
    scale: ArrayLike,
    keypoints_3d: ArrayLike | None = None,
    smpl: SmplLabel | None = None,
    track: tuple[str, int] | None = None,
    fps: float | None = None,
    lens: Lens | None = None,
    gender: Gender | None = None,
    extra_info: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The dict of a person as HMR2 and HSMR loaders read it, from the same values as in `schemas.person.Person`.

    keypoints_2d (44, 3) px, px, confidence; center (2,) px; scale (2,) box width and height in px / 200; keypoints_3d
    (44, 4) m and confidence, default zeros. track: (track_id, frame) of a video, and its frame rate fps. lens: the
    photo's camera. gender: left out where it is not known. extra_info: plain values and arrays to keep beside. Raises
    ValueError for other shapes.
    """
    extra = dict(extra_info or {})
    if track is not None:
        extra |= {"track_id": track[0], "frame": track[1]}
    if fps is not None:
        extra["fps"] = float(fps)
    keypoints_3d = np.zeros((N_KEYPOINTS, 4)) if keypoints_3d is None else keypoints_3d
    pose = np.zeros(_N_POSE) if smpl is None else smpl.pose.reshape(-1)
    betas = np.zeros(_N_BETAS) if smpl is None else smpl.betas
    said = {} if gender is None else {"gender": gender}
    return (
        _camera_fields(lens)
        | said
        | {
            "keypoints_2d": _float32(keypoints_2d, (N_KEYPOINTS, 3)),
            "keypoints_3d": _float32(keypoints_3d, (N_KEYPOINTS, 4)),
            "center": _float32(center, (2,)),
            "scale": _float32(scale, (2,)),
            "body_pose": _float32(pose, (_N_POSE,)),
            "betas": _float32(betas, (_N_BETAS,)),
            "has_body_pose": np.float32(smpl is not None),
            "has_betas": np.float32(smpl is not None),
            "extra_info": extra,
        }
    )


def _camera_fields(lens: Lens | None) -> dict[str, Any]:
    if lens is None:
        return {}
    return {
        "focal_px": np.float32(lens.focal_px),
        "principal_point": _float32(lens.principal_point, (2,)),
        "distortion": _float32(lens.distortion, (4,)),
        "camera_source": str(lens.source),
    }


class RefusedPersonError(ValueError):
    """A person that is dropped, and why."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPerson:
    """A readable person and the repairs (reason, detail) that made it so."""

    person: Person
    repairs: list[tuple[RejectionReason, str]] = field(default_factory=list)


def check_person(record: object, id: PersonId, photo_size: tuple[int, int]) -> CheckedPerson:
    """Person of a data.pyd entry; no type or shape is trusted. photo_size: (width, height) px.

    Raises RefusedPersonError.
    """
    if not isinstance(record, dict):
        raise RefusedPersonError(
            RejectionReason.MALFORMED_LABELS, f"expected a dict of fields, met {_describe(record)}"
        )
    center, side = _box(record, max(photo_size))
    repairs: list[tuple[RejectionReason, str]] = []
    track, fps = _video(record, repairs)
    person = Person(
        id=id,
        keypoints_2d=_keypoints(record, "keypoints_2d", 3, repairs),
        keypoints_3d=_keypoints(record, "keypoints_3d", 4, repairs),
        center=center,
        side=side,
        smpl=_smpl(record, repairs),
        track=track,
        fps=fps,
        lens=_lens(record, photo_size, repairs),
        gender=_gender(record, repairs),
    )
    return CheckedPerson(person=person, repairs=repairs)


def _box(record: dict[Any, Any], photo_side: int) -> tuple[Float32[np.ndarray, "2"], float]:
    """Crop centre (2,) px and side px = max(200*scale), both finite and of the order of the photo."""
    for name in ("center", "scale"):
        if record.get(name) is None:
            raise RefusedPersonError(RejectionReason.BAD_BOX, f"{name} is missing")
    center = _floats(record, "center", ((2,),))
    side = 200.0 * float(
        np.max(_numbers(record, "scale", ((2,), (1,), ())).astype(np.float64))
    )  # floats overflow in silence
    largest = MAX_SIDE_PER_PHOTO * photo_side
    if not MIN_SIDE_PX <= side <= largest:  # also refuses NaN
        detail = f"crop side 200*scale is {side:.4g} px, expected {MIN_SIDE_PX:g} to {largest:g} (20x the photo)"
        raise RefusedPersonError(RejectionReason.BAD_BOX, detail)
    if not np.all(np.abs(center) <= largest):
        raise RefusedPersonError(
            RejectionReason.BAD_BOX, f"center is {center.tolist()} px in a photo of {photo_side} px"
        )
    return center, side


def _keypoints(
    record: dict[Any, Any], name: str, width: int, repairs: list[tuple[RejectionReason, str]]
) -> Float32[np.ndarray, "44 D"]:
    """(44, width) points; those that are not finite become zeros, confidence included, and are named in `repairs`."""
    if record.get(name) is None:
        if name == "keypoints_3d":
            return np.zeros((N_KEYPOINTS, width), np.float32)
        raise RefusedPersonError(RejectionReason.MALFORMED_LABELS, f"{name} is missing")
    points = _floats(record, name, ((N_KEYPOINTS, width),))
    broken = ~np.isfinite(points).all(axis=1)
    if broken.any():
        points[broken] = 0
        rows = np.flatnonzero(broken).tolist()
        repairs.append((RejectionReason.KEYPOINTS_NOT_FINITE, f"{name} rows {rows} not finite: confidence set to 0"))
    return points


def _smpl(record: dict[Any, Any], repairs: list[tuple[RejectionReason, str]]) -> SmplLabel | None:
    has_pose, has_betas = _flag(record, "has_body_pose"), _flag(record, "has_betas")
    if math.isnan(has_pose) or math.isnan(has_betas):
        repairs.append((RejectionReason.SMPL_NOT_FINITE, "has_body_pose or has_betas is NaN: SMPL label dropped"))
        return None
    if not has_pose > 0:
        return None
    pose = _floats(record, "body_pose", ((_N_POSE,), (_N_POSE // 3, 3))).reshape(_N_POSE // 3, 3)
    betas = _floats(record, "betas", ((_N_BETAS,),)) if has_betas > 0 else np.zeros(_N_BETAS, np.float32)
    broken = [name for name, values in (("body_pose", pose), ("betas", betas)) if not np.isfinite(values).all()]
    if broken:
        repairs.append((RejectionReason.SMPL_NOT_FINITE, f"{' and '.join(broken)} not finite: SMPL label dropped"))
        return None
    return SmplLabel(pose=pose, betas=betas, has_betas=has_betas > 0, fitting_loss=_fitting_loss(record))


def _fitting_loss(record: dict[Any, Any]) -> float | None:
    """`reprojection_loss` in the dict that extra_info holds as `fitting_loss`; None where there is no such number."""
    extra = record.get("extra_info")
    held = extra.get("fitting_loss") if isinstance(extra, dict) else None
    if isinstance(held, np.ndarray) and held.size == 1:  # of objects, so that a dict can be its element
        held = held.item()
    loss = _plain(held.get("reprojection_loss")) if isinstance(held, dict) else None
    is_number = isinstance(loss, float) or (type(loss) is int and abs(loss) < 2**53)
    return float(loss) if is_number and math.isfinite(loss) else None  # pyrefly: ignore


def _lens(
    record: dict[Any, Any], photo_size: tuple[int, int], repairs: list[tuple[RejectionReason, str]]
) -> Lens | None:
    """The photo's camera from focal_px, principal_point, distortion and camera_source; None where focal_px is missing.

    One that no photo can have been taken with is left out, and said to be.
    """
    if record.get("focal_px") is None:
        return None
    width, height = photo_size
    try:
        focal = float(_numbers(record, "focal_px", ((), (1,))).reshape(()))
        if not MIN_FOCAL_PER_PHOTO <= focal / max(photo_size) <= MAX_FOCAL_PER_PHOTO:  # also refuses NaN
            raise ValueError(f"focal_px is {focal:.4g} in a photo of {width} x {height} px")
        middle = np.array([width / 2, height / 2])
        return Lens(
            focal_px=focal,
            principal_point=_optional(record, "principal_point", 2, middle),
            distortion=_optional(record, "distortion", 4, np.zeros(4)),
            source=_camera_source(record),
        )
    except ValueError as error:  # RefusedPersonError too
        repairs.append((RejectionReason.BAD_CAMERA, f"{error}: its camera is not used"))
        return None


def _optional(record: dict[Any, Any], name: str, count: int, default: NDArray[Any]) -> NDArray[np.float64]:
    return default if record.get(name) is None else _numbers(record, name, ((count,),)).astype(np.float64)


def _camera_source(record: dict[Any, Any]) -> CameraSource:
    name = _plain(record.get("camera_source", CameraSource.CALIBRATION))
    known = [str(source) for source in CameraSource if source is not CameraSource.HSMR]
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"camera_source is {_describe(name)}, expected one of {', '.join(known)}")
    return CameraSource(name)


def _gender(record: dict[Any, Any], repairs: list[tuple[RejectionReason, str]]) -> Gender | None:
    """From `gender`, text or bytes, alone or in an array of one; None where it is missing, neutral or says nothing.

    What is no gender counts as not known, and is said to be.
    """
    value = _plain(record.get("gender"))
    if isinstance(value, np.ndarray) and value.size == 1:  # of objects
        value = value.item()
    if value is None:
        return None
    word = value.decode(errors="replace") if isinstance(value, bytes) else value
    try:
        if not isinstance(word, str):
            raise ValueError(f"{_describe(value)} is no gender: male, female, m, f or neutral expected")
        return gender_of_word(word)
    except ValueError as error:
        repairs.append((RejectionReason.BAD_GENDER, f"gender: {error}: taken as not known"))
        return None


def _video(
    record: dict[Any, Any], repairs: list[tuple[RejectionReason, str]]
) -> tuple[tuple[str, int] | None, float | None]:
    """(track_id, frame) and fps of extra_info. Without a usable frame rate a person belongs to no track."""
    extra = record.get("extra_info")
    if extra is None:
        return None, None
    if not isinstance(extra, dict):
        raise RefusedPersonError(RejectionReason.MALFORMED_LABELS, f"extra_info is {_describe(extra)}, expected a dict")
    track, fps = _track(extra), _plain(extra.get("fps"))
    if fps is None:
        return track, None
    if isinstance(fps, (int, float)) and not isinstance(fps, bool) and MIN_FPS <= fps <= MAX_FPS:  # refuses NaN too
        return track, float(fps)
    detail = f"extra_info has fps {_describe(fps)}, expected {MIN_FPS:g} to {MAX_FPS:g}: taken out of its track"
    repairs.append((RejectionReason.BAD_FRAME_RATE, detail))
    return None, None


def _track(extra: dict[Any, Any]) -> tuple[str, int] | None:
    track_id, frame = (_plain(extra.get(name)) for name in ("track_id", "frame"))
    if track_id is None or frame is None:
        return None
    is_name = isinstance(track_id, str) and len(track_id) <= _MAX_TRACK_ID_CHARACTERS and track_id.isprintable()
    is_number = isinstance(track_id, int) and abs(track_id) < 2**63
    if (is_name or is_number) and isinstance(frame, (int, float)) and abs(frame) < 2**31 and frame == int(frame):
        return str(track_id), int(frame)
    detail = f"extra_info has track_id {_describe(track_id)} and frame {_describe(frame)}, expected a name and a number"
    raise RefusedPersonError(RejectionReason.MALFORMED_LABELS, detail)


def _flag(record: dict[Any, Any], name: str) -> float:
    """A validity flag as a number; 0 when missing. Python bools, numpy scalars and 0-d arrays all occur."""
    if record.get(name) is None:
        return 0.0
    return float(_numbers(record, name, ((), (1,))).reshape(()))


def _floats(record: dict[Any, Any], name: str, shapes: tuple[tuple[int, ...], ...]) -> Float32[np.ndarray, "..."]:
    """Own float32 copy of a field; what float32 cannot hold becomes infinite, for the checks for finiteness to see."""
    with np.errstate(over="ignore"):
        return np.array(_numbers(record, name, shapes), dtype=np.float32)


def _numbers(record: dict[Any, Any], name: str, shapes: tuple[tuple[int, ...], ...]) -> NDArray[Any]:
    """A field as an array of real numbers of one of `shapes`. Lists are refused: a hostile nest may never end."""
    value = record.get(name)
    if isinstance(value, (float, np.generic)) or (isinstance(value, int) and abs(value) < 2**53):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        detail = f"{name} is {_describe(value)}, expected an array of numbers"
        raise RefusedPersonError(RejectionReason.MALFORMED_LABELS, detail)
    if value.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise RefusedPersonError(RejectionReason.WRONG_SHAPE, f"{name} has shape {value.shape}, expected {expected}")
    return value


def _float32(values: ArrayLike, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    array = np.array(values, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"person_record: met shape {array.shape}, expected {shape}")
    return array


def _plain(value: object) -> object:
    """Python value of a numpy scalar or an array of one element."""
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biufSU"
    ):
        return value.item()
    return value


def _describe(value: object) -> str:
    """What was met, in bounded space: hostile values may be endless when printed."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return repr(value)
    return repr(value[:40]) if isinstance(value, str) else f"a {type(value).__name__}"
