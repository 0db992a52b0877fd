"""Joined people to a TrainBatch: keypoints, 3D points and label into the augmented crop, the label's weights."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from pipeline.image.camera import FOCAL
from pipeline.image.confidence import counted_points
from pipeline.image.crop import CROP_PX
from pipeline.image.person_view import turned_points
from schemas.keypoints import FLIP_PERMUTATION, N_KEYPOINTS
from trainer.data.augmentation import Augmentation
from trainer.data.batch import CropBatch, SmplBatch, TrainBatch
from trainer.data.crop_camera import PinholeCrop, pinhole_crop
from trainer.data.patch import CropTransform
from trainer.data.shard_walk import JoinedPerson
from trainer.data.shown_crops import ShownCrops
from trainer.data.skel_labels import skel_targets
from trainer.data.smpl_labels import smpl_targets
from trainer.data.weights import LabelWeightConfig
from trainer.network.variants import NetworkCamera, NetworkHead

_FLIPPED: Final = list(FLIP_PERMUTATION)
_FARTHEST_CROP_UNITS: Final = 100.0
_FARTHEST_M: Final = 100.0
Batch = TypeVar("Batch", bound=CropBatch)


def collate(
    people: Sequence[JoinedPerson],
    weights: LabelWeightConfig,
    camera: NetworkCamera = "crop",
    head: NetworkHead = "skel",
) -> CropBatch:
    """The batch of `people`, in order, for a network of this `camera` and `head`: TrainBatch or SmplBatch.

    A lost person is blank: a black patch, no label, no confidence, no weight.
    """
    arrays, shown = _shown(people, camera)
    if head == "skel":
        return _batch(TrainBatch, people, arrays | skel_targets(people, shown, weights))
    return _batch(SmplBatch, people, arrays | smpl_targets(people, shown))


def _batch(cls: type[Batch], people: Sequence[JoinedPerson], arrays: Mapping[str, np.ndarray]) -> Batch:
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in tensor_fields(cls)}
    return cls(ids=tuple(p.id for p in people), **tensors)


def _shown(people: Sequence[JoinedPerson], camera: NetworkCamera) -> tuple[dict[str, np.ndarray], ShownCrops]:
    """The fields of `CropBatch` that are not of labels, and what the labels have to be turned and mirrored by."""
    count = len(people)
    patches = np.zeros((count, 3, CROP_PX, CROP_PX), np.uint8)
    colors = np.ones((count, 3), np.float32)
    keypoints_2d = np.zeros((count, N_KEYPOINTS, 3), np.float32)
    keypoints_3d = np.zeros((count, N_KEYPOINTS, 4), np.float32)
    flip, rotation = np.zeros(count, bool), np.zeros(count)
    turn, focal, ray = np.tile(np.eye(3), (count, 1, 1)), np.full(count, FOCAL, np.float32), np.zeros((count, 2))
    for i, joined in enumerate(people):
        if (sample := joined.sample) is None:
            continue
        patches[i] = sample.patch
        colors[i] = sample.augmentation.color_scale
        person, crop, turned = sample.person, sample.transform, None
        if camera == "full":
            crop = pinhole_crop(sample.transform, joined.label.camera, person.center, person.side)
            turn[i] = turned = crop.from_label
            focal[i], ray[i] = crop.camera.focal, crop.ray
        points_3d, label = person.keypoints_3d, joined.label
        if label.calibrated:  # measured in the axes of the photo's camera, while the label holds in the crop's
            points_3d = turned_points(points_3d, label.camera.rotation.T)
        keypoints_2d[i] = keypoints_in_crop(person.keypoints_2d, crop)
        keypoints_3d[i] = keypoints_3d_in_crop(points_3d, sample.augmentation, turned)
        flip[i], rotation[i] = sample.augmentation.flip, np.deg2rad(sample.augmentation.rotation_deg)
    arrays = {
        "patches": patches,
        "color_scale": colors,
        "keypoints_2d": keypoints_2d,
        "keypoints_3d": keypoints_3d,
        "focal": focal,
        "ray": ray.astype(np.float32),
    }
    return arrays, ShownCrops(flip, rotation, turn if camera == "full" else None)


def tensor_fields(cls: type[CropBatch]) -> tuple[str, ...]:
    """The names of a batch's fields but `ids`."""
    return tuple(item.name for item in fields(cls) if item.name != "ids")


def concatenate(parts: Sequence[Batch]) -> Batch:
    """One batch of the people of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    cls = type(parts[0])
    tensors: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in tensor_fields(cls)}
    return cls(ids=tuple(id for part in parts for id in part.ids), **tensors)


def keypoints_in_crop(
    keypoints: Float32[np.ndarray, "44 3"], crop: CropTransform | PinholeCrop
) -> Float32[np.ndarray, "44 3"]:
    """(44, 3) photo px and confidence to crop units; left and right exchanged in a mirrored crop.

    Confidence as it counts; a point absurdly far away becomes absent.
    """
    out = np.column_stack([crop(keypoints[:, :2]), counted_points(keypoints)[:, 2]])
    out = _near(out[_FLIPPED] if crop.mirrored else out, _FARTHEST_CROP_UNITS)
    return out.astype(np.float32)


def keypoints_3d_in_crop(
    keypoints_3d: Float32[np.ndarray, "44 4"],
    augmentation: Augmentation,
    turn: Float64[np.ndarray, "3 3"] | None = None,
) -> Float32[np.ndarray, "44 4"]:
    """(44, 4) m and confidence as it counts, mirrored and turned about the z axis as the crop is; absurdly far points
    are absent.

    turn: to the axes of the crop's upright camera, before that.
    """
    out = counted_points(keypoints_3d).astype(np.float64)
    if turn is not None:
        out[:, :3] = out[:, :3] @ turn.T
    if augmentation.flip:
        out[:, 0] *= -1
        out = out[_FLIPPED]
    angle = np.deg2rad(augmentation.rotation_deg)
    c, s = np.cos(angle), np.sin(angle)
    out[:, :2] = out[:, :2] @ np.array([[c, s], [-s, c]]).T
    return _near(out, _FARTHEST_M).astype(np.float32)


def _near(points: NDArray[Any], farthest: float) -> NDArray[Any]:
    """One hostile point must not outweigh all others in a loss: beyond `farthest` it loses place and confidence."""
    near = (np.abs(points[:, :-1]) <= farthest).all(1, keepdims=True)
    return np.where(near, points, 0.0)
