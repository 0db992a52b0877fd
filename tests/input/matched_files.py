"""Hostile label files that know people by photo and box, each made from its seed: CameraHMR, SKEL-CF, SAM 3D Body."""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.person import Person, PersonId
from tests.input.label_files import PLACES, LabelCase, as_array, good_label, with_hostile_member
from tests.input.mutations import Rng, absurd, damaged

BOXES = ((48.0, 32.0, 60.0), (30.0, 40.0, 50.0), (70.0, 40.0, 40.0), (48.0, 32.0, 60.0))
"""centre x, y and side, px, of the people at PLACES: those of one photo in boxes of their own."""
FORMS = ("camerahmr", "skelcf", "sam3d")


def boxed_person(id: PersonId, place: int) -> Person:
    """Without keypoints."""
    x, y, side = BOXES[place]
    return Person(
        id=id,
        keypoints_2d=np.zeros((44, 3), np.float32),
        keypoints_3d=np.zeros((44, 4), np.float32),
        center=np.array([x, y], np.float32),
        side=side,
        smpl=None,
    )


def made_matched_case(seed: int) -> LabelCase:
    """Case number `seed`, the same bytes for ever."""
    rng = np.random.default_rng([seed, 13])
    level = list(LEVELS)[seed % len(LEVELS)]
    form = level.split(" ")[0]
    return LabelCase(seed=seed, level=level, form=form, data=LEVELS[level](rng, form))


@cache
def good_matched_file(form: str) -> bytes:
    """A sound file of each form, with all of PLACES."""
    return parquet(sam3d_rows()) if form == "sam3d" else _npz(_arrays(form))


def good_pose(number: int) -> np.ndarray:
    """SMPL's, (72,) rad."""
    return np.random.default_rng([number, 17]).normal(0, 0.1, 72).astype(np.float32)


def _arrays(form: str) -> dict[str, np.ndarray]:
    labels = [good_label(number) for number in range(len(PLACES))]
    boxes = np.array(BOXES)
    own = (
        {"skel_poses": np.stack([label.q for label in labels])}
        if form == "skelcf"
        else {"pose_cam": np.stack([good_pose(number) for number in range(len(PLACES))])}
    )
    return own | {
        "imgname": np.array([f"{key}.jpg" for key, _ in PLACES]),
        "center": boxes[:, :2],
        "scale": boxes[:, 2] / 200,
        "betas": np.stack([label.betas for label in labels]),
        "loss": np.linspace(0, 1, len(labels)),
    }


def sam3d_rows() -> dict[str, list[Any]]:
    """Columns of the rows of PLACES."""
    labels = [good_label(number) for number in range(len(PLACES))]
    return {
        "image": [f"{key}.jpg" for key, _ in PLACES],
        "bbox": [[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in BOXES],
        "bbox_format": ["xyxy"] * len(PLACES),
        "mhr_valid": [True] * len(PLACES),
        "loss": np.linspace(0, 1, len(PLACES)).tolist(),
        "smpl_pose": [good_pose(number).tolist() for number in range(len(PLACES))],
        "smpl_betas": [label.betas.tolist() for label in labels],
    }


def parquet(rows: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(rows), out)
    return out.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # pyrefly: ignore
    return out.getvalue()


def _npz_values(rng: Rng, form: str) -> bytes:
    arrays: dict[str, Any] = _arrays(form)
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice([*arrays, "cam_int", "pose", "shape", "global_orient", "body_pose"]))
        arrays[name] = absurd(rng, arrays.get(name, np.zeros(len(PLACES))))
    with np.errstate(all="ignore"):
        return _npz({name: as_array(value) for name, value in arrays.items()})


def _parquet_values(rng: Rng, form: str) -> bytes:
    """Columns of other types, lengths, nestings and values; rows that are null."""
    rows: dict[str, Any] = sam3d_rows()
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice([*rows, "cam_int", "bbox_center", "smpl_body_pose"]))
        column = list(rows.get(name, [None] * len(PLACES)))
        which = int(rng.integers(len(column)))
        odd: list[Any] = [None, [], [1.0], [None] * 72, [[1.0, 2.0], [3.0]], "x", "x" * 5000, b"\xff", 3, True,
                          float("nan"), [float("inf")] * 72, [1e308] * 10, [[]], [[[0.0]]], {"a": 1}]  # fmt: skip
        whole = rng.random() < 0.5
        value = odd[int(rng.integers(len(odd)))]
        column = [value if number == which or whole else old for number, old in enumerate(column)]
        if rng.random() < 0.1:
            rows.pop(name, None)
        else:
            rows[name] = column
    try:
        return parquet(rows)
    except (pa.ArrowException, OverflowError):  # no such column can be written
        return parquet({name: values for name, values in sam3d_rows().items() if name != "mhr_valid"})


def _bytes(rng: Rng, form: str) -> bytes:
    return damaged(good_matched_file(form), rng)


LEVELS: dict[str, Callable[[Rng, str], bytes]] = {
    "camerahmr bytes": _bytes,
    "skelcf bytes": _bytes,
    "sam3d bytes": _bytes,
    "camerahmr values": _npz_values,
    "skelcf values": _npz_values,
    "sam3d values": _parquet_values,
    "camerahmr members": lambda rng, form: with_hostile_member(rng, _arrays(form)),
    "skelcf members": lambda rng, form: with_hostile_member(rng, _arrays(form)),
}
