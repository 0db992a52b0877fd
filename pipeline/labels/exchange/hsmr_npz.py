"""Labels in one npz, as HSMR's motion prior reads them (poses, betas, pve_max), with the identity of every person."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.image.camera import FOCAL
from pipeline.labels.exchange.fitting_loss import FITTING_COLUMNS, TAKEN_BELOW_IN_NPZ, fitting_loss
from pipeline.labels.exchange.many_labels import ManyLabels
from pipeline.labels.exchange.npz_file import npz_arrays
from pipeline.labels.files.columns import figures, vectors
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.staging import read_labels
from pipeline.labels.store import LabelStore
from pipeline.storage.opening import storage_of_file
from schemas.camera import CameraSource
from schemas.gender import Gender, gender_of_word
from schemas.skel import N_BETAS, N_Q

_IDENTITY = ("dataset", "shard", "key", "person")
_CAMERA = ("cam_t", "focal", "camera_source", "camera_turn")
_COLUMNS = (*_IDENTITY, "has_label", "q", "betas", *_CAMERA, *FITTING_COLUMNS, "kp2d_error", "gender")
_FIGURES = ("pve_max", "smpl_pve_max_mm", "kp2d_err")
_OPTIONAL = ("dataset", "shard", "gender", *_FIGURES)
_KINDS = {"dataset": "US", "shard": "US", "key": "US", "gender": "US", "person": "iu"}
_KIND_NAMES = {"US": "text", "iu": "whole numbers", "f": "floating-point numbers"}


def export_npz(store: LabelStore, round: int, destination: str) -> int:
    """Write the labelled people of a generation to one npz; returns how many. Raises NoSuchGenerationError.

    poses (N, 46) rad, betas (N, 10), cam_t (N, 3) m, pve_max (N,) m (`fitting_loss`), smpl_pve_max_mm (N,) mm and
    kp2d_err (N,) crop units (NaN: unknown), and dataset, shard, key, person (N,). Nothing in it is pickled. focal (N,)
    crop units, camera_source (N,) and camera_turn (N, 3) rad say which camera cam_t, kp2d_err and the pelvis hold for
    (docs/camera_and_crop.md). gender (N,): of the body of each label, "" in generations from before it was stated.
    """
    tables = [read_labels(url, _COLUMNS) for url in store.files(round).values()]
    table = pa.concat_tables([part.filter(part["has_label"]) for part in tables]).combine_chunks()
    arrays: dict[str, Any] = {
        "poses": vectors(table["q"]),
        "betas": vectors(table["betas"]),
        "cam_t": vectors(table["cam_t"]),
        "focal": np.nan_to_num(figures(table["focal"]), nan=FOCAL),
        "camera_source": np.array([name or CameraSource.HSMR for name in table["camera_source"].to_pylist()], np.str_),
        "camera_turn": vectors(table["camera_turn"]),
        "pve_max": fitting_loss(table, TAKEN_BELOW_IN_NPZ),
        "smpl_pve_max_mm": figures(table["pve_max_mm"]),
        "kp2d_err": figures(table["kp2d_error"]),
        **{name: np.array(table[name].to_pylist(), dtype=np.str_) for name in ("dataset", "shard", "key")},
        "person": np.asarray(table["person"], np.int32),
        "gender": np.array([gender or "" for gender in table["gender"].to_pylist()], np.str_),
    }
    storage, name = storage_of_file(destination)
    with tempfile.TemporaryDirectory() as work:
        np.savez(Path(work, "labels.npz"), **arrays)
        storage.upload(Path(work, "labels.npz"), name)
    return table.num_rows


def read_npz(path: str) -> ManyLabels:
    """Read poses (N, 46), betas (N, 10), key (N,), person (N,); optional dataset, shard, pve_max (m), kp2d_err,
    smpl_pve_max_mm and gender. Rows that are not finite are none.

    Raises LabelStoreError for a file that lacks an array, holds pickled objects, or names a person twice.
    """
    arrays = npz_arrays(path, ("poses", "betas", "key", "person", *_OPTIONAL))
    count = _checked_count(path, arrays)
    identity = tuple(name for name in _IDENTITY if name in arrays)
    with np.errstate(over="ignore"):  # a number beyond float32 is not finite, which is looked at
        q, betas = (arrays[name].astype(np.float32) for name in ("poses", "betas"))
    finite = np.flatnonzero(np.isfinite(np.concatenate([q, betas], 1)).all(1))
    usable = set(finite.tolist())
    rows: dict[tuple[str, ...], int] = {}
    met: set[tuple[str, ...]] = set()
    for row, place in enumerate(zip(*(_texts(arrays[name]) for name in identity), strict=True)):
        if place in met:
            raise LabelStoreError(f"{path} has {dict(zip(identity, place, strict=True))} twice. Add dataset and shard.")
        met.add(place)
        if row in usable:
            rows[place] = row
    told = {name: arrays[name].astype(np.float64) for name in _FIGURES if name in arrays}
    unknown = np.full(count, np.nan)
    return ManyLabels(
        identity=identity,
        rows=rows,
        q=q,
        betas=betas,
        pve_max=told.get("pve_max", unknown),
        kp2d_err=told.get("kp2d_err", unknown),
        smpl_pve_max_mm=told.get("smpl_pve_max_mm"),
        gender=_genders(path, arrays),
    )


def _genders(path: str, arrays: Mapping[str, np.ndarray]) -> list[Gender | None] | None:
    if "gender" not in arrays:
        return None
    try:
        return [gender_of_word(word) for word in _texts(arrays["gender"])]
    except ValueError as error:
        raise LabelStoreError(f"{path}: gender: {error}.") from error


def _texts(values: np.ndarray) -> list[str]:
    if values.dtype.kind == "S":
        return [value.decode(errors="replace") for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _checked_count(path: str, arrays: Mapping[str, np.ndarray]) -> int:
    shapes = {"poses": (N_Q,), "betas": (N_BETAS,), "key": (), "person": ()}
    shapes |= {name: () for name in _OPTIONAL if name in arrays}
    count = len(arrays["poses"]) if "poses" in arrays and arrays["poses"].ndim else 0
    for name, rest in shapes.items():
        if name not in arrays or arrays[name].shape != (count, *rest):
            met = arrays[name].shape if name in arrays else "nothing"
            raise LabelStoreError(f"{path}: {name} of shape {('N', *rest)} expected, met {met}.")
        kinds = _KINDS.get(name, "f")
        if arrays[name].dtype.kind not in kinds:
            raise LabelStoreError(f"{path}: {name} is {arrays[name].dtype}, {_KIND_NAMES[kinds]} expected.")
    return count
