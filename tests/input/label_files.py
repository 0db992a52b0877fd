"""Hostile label files of others, each made from its seed alone: tars, npz, HSMR's refined labels, bare pickles."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pipeline.labels.exchange.hsmr_fields import HsmrLabel, label_fields
from tests.input.mutations import KEYS, Rng, absurd, damaged, good_samples, mutated_pickle, packed, tar_members

PLACES = ((KEYS[0], 0), (KEYS[1], 0), (KEYS[1], 1), (KEYS[2], 0))
"""(key, person) of the people in the good shard; in every good label file each of them has a label."""
FIELDS = ("poses", "betas", "has_poses", "has_betas")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCase:
    """A hostile label file. form: how a user would read it: `tars`, `npz` or `pseudo_gt`; by photo and box one of
    `matched_files.FORMS`.
    """

    seed: int
    level: str
    form: str
    data: bytes


def made_label_case(seed: int) -> LabelCase:
    """Case number `seed`, the same bytes for ever."""
    rng = np.random.default_rng([seed, 7])
    level = list(LEVELS)[seed % len(LEVELS)]
    return LabelCase(seed=seed, level=level, form=level.split(" ")[0], data=LEVELS[level](rng))


def good_label(number: int) -> HsmrLabel:
    rng = np.random.default_rng([number, 11])
    return HsmrLabel(
        q=rng.normal(0, 0.05, 46).astype(np.float32),
        betas=rng.normal(0, 0.3, 10).astype(np.float32),
        pve_max=0.0,
        kp2d_err=0.01,
        smpl_pve_max_mm=100.0,
    )


@cache
def good_file(form: str) -> bytes:
    """A sound file of each form, with all of PLACES."""
    if form == "tars":
        return _tar([pickle.dumps(people, 4) for people in _labelled_people()])
    if form == "npz":
        return _npz(_arrays())
    return _npz({name: np.array(values, object) for name, values in _dicts().items()})


def _labelled_people() -> list[list[dict[str, Any]]]:
    people = [pickle.loads(labels) for _, labels in good_samples()]
    number = 0
    for records in people:
        for record in records:
            record |= label_fields(good_label(number))
            number += 1
    return people


def _tar(labels: list[bytes]) -> bytes:
    return packed(tar_members([(jpeg, data) for (jpeg, _), data in zip(good_samples(), labels, strict=True)]))


def _arrays() -> dict[str, np.ndarray]:
    labels = [good_label(number) for number in range(len(PLACES))]
    return {
        "poses": np.stack([label.q for label in labels]),
        "betas": np.stack([label.betas for label in labels]),
        "pve_max": np.zeros(len(labels)),
        "smpl_pve_max_mm": np.full(len(labels), 100.0),
        "key": np.array([key for key, _ in PLACES]),
        "person": np.array([person for _, person in PLACES]),
    }


def _dicts() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {name: {} for name in FIELDS}
    for number, (key, person) in enumerate(PLACES):
        fields = label_fields(good_label(number))
        for side in ("orig", "flip"):
            for name in FIELDS:
                found[name][f"{key}_{person}_{side}"] = fields[f"{side}_{name}"]
    return found


def _npz(arrays: dict[str, np.ndarray], compressed: bool = False) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)  # pyrefly: ignore
    return out.getvalue()


# --- levels: rng -> bytes; the first word is the form ---


def _tar_values(rng: Rng) -> bytes:
    people = _labelled_people()
    for _ in range(int(rng.integers(1, 6))):
        records = people[int(rng.integers(3))]
        record = records[int(rng.integers(len(records)))]
        name = str(rng.choice([name for name in record if name.startswith(("orig_", "flip_"))]))
        if rng.random() < 0.2:
            del record[name]
        else:
            record[name] = absurd(rng, record[name])
    return _tar([_pickled(records) for records in people])


def _tar_pickle(rng: Rng) -> bytes:
    labels = [pickle.dumps(people, 4) for people in _labelled_people()]
    which = int(rng.integers(3))
    labels[which] = mutated_pickle(labels[which], rng)
    return _tar(labels)


def _npz_values(rng: Rng) -> bytes:
    arrays: dict[str, Any] = _arrays()
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice([*arrays, "dataset", "shard", "kp2d_err"]))
        arrays[name] = absurd(rng, arrays.get(name, np.zeros(len(PLACES))))
    with np.errstate(all="ignore"):
        arrays = {name: as_array(value) for name, value in arrays.items()}
    return _npz(arrays, compressed=bool(rng.integers(2)))


def _npz_members(rng: Rng) -> bytes:
    """Headers that claim other types, orders and shapes than the bytes are; members twice, or of zeros without end."""
    return with_hostile_member(rng, _arrays())


def _gt_members(rng: Rng) -> bytes:
    return with_hostile_member(rng, {name: np.array(values, object) for name, values in _dicts().items()})


def with_hostile_member(rng: Rng, arrays: dict[str, np.ndarray]) -> bytes:
    hostile, out = str(rng.choice(list(arrays))), io.BytesIO()
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    with zipfile.ZipFile(out, "w") as members:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array)
            content = data.getvalue()
            method = methods[0]
            if name == hostile:
                content, method = _hostile_array(rng, content), methods[int(rng.choice(4, p=[0.4, 0.4, 0.1, 0.1]))]
            members.writestr(zipfile.ZipInfo(f"{name}.npy"), content, method)
            if name == hostile and rng.random() < 0.1:
                members.writestr(zipfile.ZipInfo(str(rng.choice([f"../{name}.npy", f"/{name}.npy", name]))), content)
    data = out.getvalue()
    return damaged(data, rng, most=1) if rng.random() < 0.2 else data


def _hostile_array(rng: Rng, array: bytes) -> bytes:
    length = struct.unpack("<H", array[8:10])[0]
    header, body = array[10 : 10 + length], array[10 + length :]
    match int(rng.integers(6)):
        case 0:
            shapes = [b"(1000000000000, 46)", b"(-1,)", b"(4, 46)", b"(0,)", b"()", b"(9" + b"9" * 150 + b",)",
                      b"(1,) * 99", b"(True,)", b"(4L, 46L)", b"(4,46,)", b"__import__('os').system('id')"]  # fmt: skip
            shape = shapes[int(rng.integers(len(shapes)))]
            header = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b", }"
        case 1:
            kinds = [
                b"'<f8'",
                b"'|O'",
                b"'<U999999'",
                b"'|V8'",
                b"[('a', '<f4')]",
                b"'<M8[s]'",
                b"'<c16'",
                b"open('x')",
            ]
            kind = kinds[int(rng.integers(len(kinds)))]
            header = b"{'descr': " + kind + b", 'fortran_order': False, 'shape': (4, 46), }"
        case 2:
            header = damaged(header, rng, most=2)
        case 3:
            body = bytes(int(rng.choice([10**6, 65 * 2**20], p=[0.9, 0.1])))
        case 4:
            body = mutated_pickle(body, rng) if array[10:].find(b"'|O'") >= 0 else damaged(body, rng)
        case _:
            return damaged(array, rng)
    version = bytes([int(rng.choice([1, 1, 1, 2, 3, 9])), 0])
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + body


def _gt_values(rng: Rng) -> bytes:
    found: dict[str, Any] = _dicts()
    for _ in range(int(rng.integers(1, 5))):
        field = str(rng.choice(FIELDS))
        if not isinstance(found[field], dict):
            continue
        keys = list(found[field])
        if not keys:
            continue
        key = keys[int(rng.integers(len(keys)))]
        match int(rng.integers(5)):
            case 0:
                found[field] = absurd(rng, found[field])
            case 1:
                strange: list[Any] = ["", "_orig", "a_b_orig", "a_-1_flip", "a_٣_orig", "a_1e9_orig", 3, ("a", 0), None]
                found[field][strange[int(rng.integers(len(strange)))]] = found[field][key]
            case 2:
                del found[field][key]
            case _:
                found[field][key] = absurd(rng, found[field][key])
    if rng.random() < 0.5:
        return _pickled(found)
    return _npz({name: as_array(value) for name, value in found.items()})


def _gt_pickle(rng: Rng) -> bytes:
    return mutated_pickle(pickle.dumps(_dicts(), int(rng.choice([2, 4, 5]))), rng)


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value, 4)
    except (pickle.PicklingError, OverflowError):
        return pickle.dumps(None)


def as_array(value: object) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), object)
    array[()] = value
    return array


LEVELS: dict[str, Callable[[Rng], bytes]] = {
    "tars bytes": lambda rng: damaged(good_file("tars"), rng),
    "npz bytes": lambda rng: damaged(good_file("npz"), rng),
    "pseudo_gt bytes": lambda rng: damaged(good_file("pseudo_gt"), rng),
    "tars values": _tar_values,
    "npz values": _npz_values,
    "pseudo_gt values": _gt_values,
    "tars pickle": _tar_pickle,
    "npz members": _npz_members,
    "pseudo_gt members": _gt_members,
    "pseudo_gt pickle": _gt_pickle,
}
