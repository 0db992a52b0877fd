"""Labels in one npz, as HSMR's motion prior reads them (poses, betas, pve_max), with the identity of every person."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.image.camera import FOCAL
from pipeline.labels.exchange.fitting_loss import FITTING_COLUMNS, TAKEN_BELOW_IN_NPZ, fitting_loss
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.files.columns import figures, vectors
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.staging import read_labels
from pipeline.labels.store import LabelStore
from pipeline.storage.opening import storage_of_file
from schemas.camera import CameraSource
from schemas.person import PersonId
from schemas.skel import N_BETAS, N_Q

_IDENTITY = ("dataset", "shard", "key", "person")
_CAMERA = ("cam_t", "focal", "camera_source", "camera_turn")
_COLUMNS = (*_IDENTITY, "has_label", "q", "betas", *_CAMERA, *FITTING_COLUMNS, "kp2d_error")
_OPTIONAL = ("dataset", "shard", "pve_max", "smpl_pve_max_mm", "kp2d_err")


def export_npz(store: LabelStore, round: int, destination: str) -> int:
    """Write the labelled people of a generation to one npz; returns how many. Raises NoSuchGenerationError.

    poses (N, 46) rad, betas (N, 10), cam_t (N, 3) m, pve_max (N,) m (`fitting_loss`), smpl_pve_max_mm (N,) mm and
    kp2d_err (N,) crop units (NaN: unknown), and dataset, shard, key, person (N,). Nothing in it is pickled. focal (N,)
    crop units, camera_source (N,) and camera_turn (N, 3) rad say which camera cam_t, kp2d_err and the pelvis hold for
    (docs/camera_and_crop.md).
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
    }
    storage, name = storage_of_file(destination)
    with tempfile.TemporaryDirectory() as work:
        np.savez(Path(work, "labels.npz"), **arrays)
        storage.upload(Path(work, "labels.npz"), name)
    return table.num_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class NpzLabels:
    """Labels by who they are of, as precisely as the file says it: dataset and shard may be left out of it."""

    by_place: Mapping[tuple[str, ...], HsmrLabel]
    identity: tuple[str, ...]

    def label(self, person: PersonId) -> HsmrLabel | None:
        """The label of a person, None if the file has none."""
        values = {"dataset": person.dataset, "shard": person.shard, "key": person.key, "person": str(person.person)}
        return self.by_place.get(tuple(values[name] for name in self.identity))


def read_npz(path: str) -> NpzLabels:
    """Read poses (N, 46), betas (N, 10), key (N,), person (N,); optional dataset, shard, pve_max (m), kp2d_err and
    smpl_pve_max_mm.

    Raises LabelStoreError for a file that lacks an array, holds pickled objects, or names a person twice.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise LabelStoreError(f"{path} is no npz that can be read safely: {error}") from error
    count = _checked_count(path, arrays)
    unknown = np.full(count, np.nan)
    identity = tuple(name for name in _IDENTITY if name in arrays)
    labels: dict[tuple[str, ...], HsmrLabel] = {}
    finite = np.isfinite(arrays["poses"]).all(1) & np.isfinite(arrays["betas"]).all(1)
    for i in range(count):
        place = tuple(str(arrays[name][i]) for name in identity)
        if place in labels:
            raise LabelStoreError(f"{path} has {dict(zip(identity, place, strict=True))} twice. Add dataset and shard.")
        if finite[i]:
            labels[place] = HsmrLabel(
                q=arrays["poses"][i].astype(np.float32),
                betas=arrays["betas"][i].astype(np.float32),
                pve_max=float(arrays.get("pve_max", unknown)[i]),
                kp2d_err=float(arrays.get("kp2d_err", unknown)[i]),
                smpl_pve_max_mm=float(arrays["smpl_pve_max_mm"][i]) if "smpl_pve_max_mm" in arrays else None,
            )
    return NpzLabels(by_place=labels, identity=identity)


def _checked_count(path: str, arrays: Mapping[str, np.ndarray]) -> int:
    shapes = {"poses": (N_Q,), "betas": (N_BETAS,), "key": (), "person": ()}
    shapes |= {name: () for name in _OPTIONAL if name in arrays}
    count = len(arrays["poses"]) if "poses" in arrays and arrays["poses"].ndim else 0
    for name, rest in shapes.items():
        if name not in arrays or arrays[name].shape != (count, *rest):
            met = arrays[name].shape if name in arrays else "nothing"
            raise LabelStoreError(f"{path}: {name} of shape {('N', *rest)} expected, met {met}.")
    return count
