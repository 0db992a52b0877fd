"""CameraHMR's label files, and SKEL-CF's in their manner: an npz, one row a person (docs/exchange.md)."""

from typing import Final

import numpy as np
from jaxtyping import Float64

from pipeline.labels.exchange.file_fields import FileFields
from pipeline.labels.exchange.matched_rows import MatchedRows, above, box_sides, matched_rows
from pipeline.labels.exchange.photo_boxes import PhotoBoxes
from schemas.skel import N_BETAS, N_Q

_SMPL_POSE: Final = ("pose_cam", "pose")
_SMPL_PARTS: Final = ("global_orient", "body_pose")
_SMPL_BETAS: Final = ("shape", "betas")
_SKEL_POSE: Final = ("skel_poses", "poses")
_SKEL_BETAS: Final = ("skel_betas", "betas")
_PLACE: Final = ("imgname", "center", "scale", "cam_int", "loss")
_MOST_BETAS: Final = 300


def read_camerahmr(path: str, max_loss: float | None = None) -> MatchedRows:
    """SMPL labels: imgname (N,), center (N, 2) px, scale (N,) or (N, 2) px or 200 px, pose_cam or pose (N, 72), or
    global_orient (N, 3) and body_pose (N, 69), axis-angle rad; shape or betas (N, 10 or more). Optional cam_int
    (N, 3, 3) px, without which the pose is taken to hold in the crop's axes, and loss (N,), needed by max_loss.

    Raises LabelStoreError.
    """
    file = FileFields(path, (*_PLACE, *_SMPL_POSE, *_SMPL_PARTS, *_SMPL_BETAS), "imgname")
    if not any(name in file for name in _SMPL_POSE) and all(name in file for name in _SMPL_PARTS):
        root = file.needed_numbers("global_orient", (3,), (1, 3)).reshape(file.count, -1)
        body = file.needed_numbers("body_pose", (69,), (23, 3)).reshape(file.count, -1)
        pose = np.concatenate([root, body], 1)
    else:
        name = file.first_of(*_SMPL_POSE, *_SMPL_PARTS)
        pose = file.needed_numbers(name, (72,), (24, 3)).reshape(file.count, 72)
    return _rows(file, pose, _betas(file, _SMPL_BETAS), max_loss, smpl=True)


def read_skelcf(path: str, max_loss: float | None = None) -> MatchedRows:
    """SKEL labels: imgname, center, scale, cam_int and loss as of `read_camerahmr`; skel_poses or poses (N, 46) rad,
    skel_betas or betas (N, 10 or more). Raises LabelStoreError.
    """
    file = FileFields(path, (*_PLACE, *_SKEL_POSE, *_SKEL_BETAS), "imgname")
    pose = file.needed_numbers(file.first_of(*_SKEL_POSE), (N_Q,))
    return _rows(file, pose, _betas(file, _SKEL_BETAS), max_loss, smpl=False)


def _rows(
    file: FileFields, pose: Float64[np.ndarray, "N W"], betas: np.ndarray, max_loss: float | None, *, smpl: bool
) -> MatchedRows:
    boxes = PhotoBoxes(
        images=file.texts("imgname"),
        center=file.needed_numbers("center", (2,)),
        side=box_sides(file.needed_numbers("scale", (2,), (1,), ()).reshape(file.count, -1)),
    )
    cameras = file.numbers("cam_int", (3, 3)) if "cam_int" in file else None
    gates = {}
    if max_loss is not None:
        loss = file.needed_numbers("loss", (), (1,)).reshape(file.count)
        gates[f"loss above {max_loss:g}"] = above(loss, max_loss)
    return matched_rows(boxes, pose, betas, cameras, gates, smpl=smpl)


def _betas(file: FileFields, names: tuple[str, ...]) -> Float64[np.ndarray, "N B"]:
    name = file.first_of(*names)
    array = file.needed(name)
    width = array.shape[1] if array.ndim == 2 else 0
    if not N_BETAS <= width <= _MOST_BETAS:
        raise file.wrong(name, f"(N, {N_BETAS}) or more of the same components", array)
    return file.checked(name, array, (width,))
