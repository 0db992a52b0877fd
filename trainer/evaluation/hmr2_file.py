"""The evaluation files of HMR2.0, which HSMR evaluates on too: an npz of plain arrays."""

import numpy as np

from trainer.evaluation.evaluation_set import EvaluationFileError, EvaluationSet
from trainer.evaluation.file_fields import FileFields
from trainer.evaluation.protocols import Protocol

_GENDER = ("gender", "genders")
_FIELDS = (
    "imgname", "center", "scale", "body_keypoints_2d", "extra_keypoints_2d", "body_keypoints_3d", "extra_keypoints_3d",
    "body_pose", "betas", "has_body_pose", "has_betas",
)  # fmt: skip
_BODY, _EXTRA = 25, 19


def read_hmr2_file(path: str, protocol: Protocol, *, with_genders: bool = False) -> EvaluationSet:
    """imgname (N,), center (N, 2) px, scale (N,) or (N, 2) px, {body,extra}_keypoints_2d (N, 25|19, 3),
    {body,extra}_keypoints_3d (N, 25|19, 4), body_pose (N, 72), betas (N, 10), has_body_pose and has_betas (N,).

    All but the first three may be missing, as far as the protocol needs no truth from them; gender or genders (N,) text
    is read where with_genders. Raises EvaluationFileError.
    """
    file = FileFields(path, (*_FIELDS, *_GENDER) if with_genders else _FIELDS, "imgname")
    images = file.texts("imgname")
    for name in ("center", "scale"):
        file.needed(name)
    _check_truth(file, protocol)
    size = file.numbers("scale", (2,), (1,), ())
    has_smpl = [file.numbers(name, (), (1,)).reshape(-1) > 0 for name in ("has_body_pose", "has_betas") if name in file]
    given = np.full(file.count, "body_pose" in file and "betas" in file)
    return EvaluationSet(
        images=images,
        names=images,
        center=file.numbers("center", (2,)),
        size=np.broadcast_to(size.reshape(file.count, -1), (file.count, 2)).copy(),
        keypoints_2d=_joined(file, "2d", 3),
        keypoints_3d=_joined(file, "3d", 4),
        pose=file.numbers("body_pose", (72,), (24, 3)).reshape(-1, 24, 3),
        betas=file.numbers("betas", (10,)),
        has_smpl=np.logical_and.reduce([given, *has_smpl]),
        genders=file.genders(*_GENDER) if with_genders else [None] * file.count,
    )


def _joined(file: FileFields, kind: str, width: int) -> np.ndarray:
    body = file.numbers(f"body_keypoints_{kind}", (_BODY, width))
    return np.concatenate([body, file.numbers(f"extra_keypoints_{kind}", (_EXTRA, width))], 1)


def _check_truth(file: FileFields, protocol: Protocol) -> None:
    if protocol.truth == "keypoints_3d":
        smpl = protocol.smpl_in_place and "body_pose" in file and "betas" in file
        if "extra_keypoints_3d" not in file and not smpl:
            other = " (nor body_pose and betas in their place)" if protocol.smpl_in_place else ""
            raise EvaluationFileError(
                f"{file.path} has no field 'extra_keypoints_3d'{other}: the 14 points that {protocol.title} is "
                f"scored on are there. It has {', '.join(sorted(file.arrays))}."
            )
    elif not any(f"{part}_keypoints_2d" in file for part in ("body", "extra")):
        raise EvaluationFileError(
            f"{file.path} has neither 'body_keypoints_2d' nor 'extra_keypoints_2d', which {protocol.title} is scored "
            f"on. It has {', '.join(sorted(file.arrays))}."
        )
