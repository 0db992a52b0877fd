"""The refined labels that HSMR's training keeps beside its data: better_pseudo_gt.npz_r{rank}, a file for each rank.

Each is an npz of four pickled dicts, poses, betas, has_poses and has_betas, whose keys are {key}_{pid}_{orig|flip}.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.labels.exchange.fitting_loss import FITTING_COLUMNS, TAKEN_BELOW_IN_TARS, fitting_loss
from pipeline.labels.exchange.hsmr_fields import HsmrLabel, better_of, checked_label, mirror
from pipeline.labels.exchange.many_labels import ManyLabels
from pipeline.labels.exchange.npz_file import many_loads, npz_arrays
from pipeline.labels.files.columns import vectors
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.staging import read_labels
from pipeline.labels.store import LabelStore
from pipeline.safe_pickle import ForbiddenPickleError, MalformedPickleError
from pipeline.storage.opening import open_storage
from schemas.skel import N_BETAS, N_Q

FIELDS: Final = ("poses", "betas", "has_poses", "has_betas")
_NAME: Final = "better_pseudo_gt.npz_r{rank}"
_COLUMNS: Final = ("key", "person", "has_label", "q", "betas", *FITTING_COLUMNS)
_SIDES: Final = ("orig", "flip")
_ZIP: Final = b"PK"

Place = tuple[str, str]
"""(key, person as text): all that these files say of who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoGt:
    """The labels of all ranks together. repeated: entries that several files have, of which the last file's is taken;
    unusable: entries that are switched off, no finite label, or whose key names nobody.
    """

    labels: ManyLabels
    repeated: int
    unusable: int


def export_pseudo_gt(store: LabelStore, round: int, destination: str, ranks: int) -> int:
    """Write DESTINATION/better_pseudo_gt.npz_r{rank} for each of `ranks`, all alike; returns how many people get a
    label.

    Every person of the generation is in each of them, as any rank may meet anybody; who has no label, or a poor fit, is
    switched off. Raises NoSuchGenerationError, and LabelStoreError where two people have one key and number.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in FIELDS}
    taught = 0
    for url in store.files(round).values():
        table = read_labels(url, _COLUMNS)
        counted = table["has_label"].to_numpy() & (fitting_loss(table, TAKEN_BELOW_IN_TARS) < TAKEN_BELOW_IN_TARS)
        rows = zip(table["key"].to_pylist(), table["person"].to_pylist(), vectors(table["q"]), vectors(table["betas"]),
                   counted.tolist(), strict=True)  # fmt: skip
        for key, person, q, betas, has in rows:
            if f"{key}_{person}_{_SIDES[0]}" in found["poses"]:
                raise LabelStoreError(f"{key} person {person} is in two shards, which these files cannot tell apart.")
            for side, pose in zip(_SIDES, (np.array(q), mirror(q)), strict=True):
                values = (pose, np.array(betas), np.float32(has), np.float32(has))
                for name, value in zip(FIELDS, values, strict=True):
                    found[name][f"{key}_{person}_{side}"] = value
            taught += has
    target = open_storage(destination)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "labels.npz")
        arrays: dict[str, Any] = {name: np.array(values, object) for name, values in found.items()}
        np.savez(path, **arrays)
        for rank in range(ranks):
            target.upload(path, _NAME.format(rank=rank))
    return taught


def read_pseudo_gt(paths: Sequence[str]) -> PseudoGt:
    """Read the files of all ranks. Where several have an entry, the last in the order given counts.

    Raises LabelStoreError for a file that is not of this form, wants to run something, or where no entry is a label;
    OSError where one is not there.
    """
    entries: dict[str, HsmrLabel | None] = {}
    repeated = unusable = 0
    for path in paths:
        fields = _fields(path)
        for name in fields["poses"]:
            repeated += name in entries
            values = [fields[field].get(name) for field in FIELDS]
            entries[name] = checked_label(values[0], values[1], values[2:])
            unusable += entries[name] is None
    people: dict[Place, dict[str, HsmrLabel | None]] = {}
    for name, label in entries.items():
        key, _, rest = name.rpartition("_")[0].rpartition("_") if name.endswith(_SIDES) else ("", "", "")
        if not key or not rest.isdecimal():
            unusable += label is not None
            continue
        people.setdefault((key, str(int(rest))), {})[name[-4:]] = label
    merged = {who: better_of(*(sides.get(side) for side in _SIDES)) for who, sides in people.items()}
    labels = {who: label for who, label in merged.items() if label is not None}
    if not labels:
        raise LabelStoreError(f"{', '.join(paths)}: no entry is a label of {{key}}_{{pid}}_orig or _flip.")
    return PseudoGt(labels=_stacked(labels), repeated=repeated, unusable=unusable)


def _stacked(labels: Mapping[Place, HsmrLabel]) -> ManyLabels:
    unknown = np.full(len(labels), np.nan)
    return ManyLabels(
        identity=("key", "person"),
        rows={who: row for row, who in enumerate(labels)},
        q=np.stack([label.q for label in labels.values()]).reshape(-1, N_Q),
        betas=np.stack([label.betas for label in labels.values()]).reshape(-1, N_BETAS),
        pve_max=unknown,
        kp2d_err=unknown,
        smpl_pve_max_mm=unknown,  # refined: they need not be near their pseudo-labels
    )


def _fields(path: str) -> dict[str, dict[str, Any]]:
    """The four dicts of a file, an npz or a bare pickle."""
    with open(path, "rb") as file:
        packed = file.read(2) == _ZIP
    arrays = npz_arrays(path, FIELDS, objects=True) if packed else {}
    found: Any = {name: _dict_in(array) for name, array in arrays.items()} if packed else _pickle(path)
    for name in FIELDS:
        values = found.get(name) if isinstance(found, dict) else None
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise LabelStoreError(f"{path}: {name} should be a dict by {{key}}_{{pid}}_{{orig|flip}}, and is not.")
    return found


def _dict_in(array: np.ndarray) -> Any:
    return array.item() if array.dtype.hasobject and array.size == 1 else None


def _pickle(path: str) -> Any:
    try:
        return many_loads(Path(path).read_bytes())
    except (ForbiddenPickleError, MalformedPickleError) as error:
        raise LabelStoreError(f"{path} is neither an npz nor a pickle that can be read safely: {error}.") from error
