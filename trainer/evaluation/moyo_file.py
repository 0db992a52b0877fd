"""MOYO as HSMR evaluates it: moyo_v2.npz, part of which is pickled and read by the restricted unpickler."""

from typing import Any

import numpy as np

from trainer.evaluation.evaluation_set import EvaluationFileError, EvaluationSet
from trainer.evaluation.file_fields import FileFields

_FIELDS = ("extra_info", "names", "img_paths", "centers", "scales", "genders", "smpl")
_SMPL = {"global_orient": ((3,), (1, 3)), "body_pose": ((69,), (23, 3)), "betas": ((10,),)}


def read_moyo_file(path: str, *, with_genders: bool = False) -> EvaluationSet:
    """names and img_paths (N,), centers (N, 2) px, scales (N, 2): width and height px, smpl: a pickled dict of
    global_orient (N, 3), body_pose (N, 69) and betas (N, 10), and extra_info: one with dataset_name.

    genders (N,) may be there, and say SKEL's body where with_genders; the truth is the neutral body whatever they say.
    Raises EvaluationFileError.
    """
    file = FileFields(path, _FIELDS, "img_paths")
    told = _dict(file, "extra_info")
    if "dataset_name" not in told:
        raise EvaluationFileError(f"{path}: extra_info has no 'dataset_name', only {_keys(told)}.")
    name = str(told["dataset_name"])
    if "moyo" not in name.lower():
        raise EvaluationFileError(f"{path}: extra_info says dataset_name={name[:40]!r}, expected a MOYO file.")
    smpl = _dict(file, "smpl")
    for field in ("centers", "scales"):
        file.needed(field)
    if "genders" in file:
        file.texts("genders")
    parts = {field: _of_smpl(file, smpl, field) for field in _SMPL}
    pose = np.concatenate([parts["global_orient"], parts["body_pose"]], 1).reshape(-1, 24, 3)
    return EvaluationSet(
        images=file.texts("img_paths"),
        names=file.texts("names"),
        center=file.numbers("centers", (2,)),
        size=file.numbers("scales", (2,)),
        keypoints_2d=np.zeros((file.count, 44, 3)),
        keypoints_3d=np.zeros((file.count, 44, 4)),
        pose=pose,
        betas=parts["betas"],
        has_smpl=np.ones(file.count, bool),
        genders=file.genders("genders") if with_genders else [None] * file.count,
    )


def _of_smpl(file: FileFields, smpl: dict[Any, Any], field: str) -> np.ndarray:
    if field not in smpl:
        raise EvaluationFileError(f"{file.path}: smpl has no {field!r}, only {_keys(smpl)}.")
    return file.checked(f"smpl[{field!r}]", smpl[field], *_SMPL[field]).reshape(file.count, -1)


def _dict(file: FileFields, name: str) -> dict[Any, Any]:
    """A pickled dict, which numpy stores as an array of one object."""
    array = file.needed(name)
    value = array.item() if array.dtype.hasobject and array.size == 1 else None
    if not isinstance(value, dict):
        raise EvaluationFileError(
            f"{file.path}: {name} is {array.dtype} of shape {array.shape}, expected a pickled dict."
        )
    return value


def _keys(found: dict[Any, Any]) -> str:
    return ", ".join(sorted(str(key)[:40] for key in found)[:10]) or "nothing"
