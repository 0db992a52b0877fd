"""Joined people to a TrainBatch: keypoints, 3D points and label into the augmented crop, the label's weights."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numpy.typing import NDArray
from torch import Tensor

from pipeline.body.representation import mirror_q, turn_in_image_plane, turn_pelvis
from pipeline.image.camera import FOCAL
from pipeline.image.confidence import counted_points
from pipeline.image.crop import CROP_PX
from pipeline.image.person_view import turned_points
from schemas.keypoints import FLIP_PERMUTATION, N_KEYPOINTS
from trainer.data.augmentation import Augmentation
from trainer.data.batch import TrainBatch
from trainer.data.crop_camera import PinholeCrop, pinhole_crop
from trainer.data.patch import CropTransform
from trainer.data.shard_walk import JoinedPerson
from trainer.data.weights import LabelWeightConfig, betas_weights, joint_weights, within_limits
from trainer.network.variants import NetworkCamera

_FLIPPED: Final = list(FLIP_PERMUTATION)
_FARTHEST_CROP_UNITS: Final = 100.0
_FARTHEST_M: Final = 100.0
_TENSORS: Final = tuple(name for name in TrainBatch.__dataclass_fields__ if name != "ids")


def collate(people: Sequence[JoinedPerson], weights: LabelWeightConfig, camera: NetworkCamera = "crop") -> TrainBatch:
    """The batch of `people`, in order, for a network of this `camera`.

    A lost person is blank: a black patch, no label, no confidence, no weight.
    """
    count = len(people)
    patches = np.zeros((count, 3, CROP_PX, CROP_PX), np.uint8)
    colors = np.ones((count, 3), np.float32)
    keypoints_2d = np.zeros((count, N_KEYPOINTS, 3), np.float32)
    keypoints_3d = np.zeros((count, N_KEYPOINTS, 4), np.float32)
    has_label = np.zeros(count, bool)
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
        has_label[i] = joined.label.has_label
        flip[i], rotation[i] = sample.augmentation.flip, np.deg2rad(sample.augmentation.rotation_deg)
    label_turn = turn if camera == "full" else None
    q = q_in_crop(np.stack([p.label.q for p in people]), flip, rotation, label_turn) * has_label[:, None]
    poor_fit = np.array([p.label.poor_fit for p in people], bool)
    q_std = mirrored_joint_order(np.stack([p.label.q_std for p in people]), flip)
    teaches = has_label[:, None] & within_limits(q)
    arrays = {
        "patches": patches,
        "color_scale": colors,
        "keypoints_2d": keypoints_2d,
        "keypoints_3d": keypoints_3d,
        "q": q,
        "q_std": np.where(has_label[:, None], q_std, 0).astype(np.float32),
        "betas": np.stack([p.label.betas for p in people]) * has_label[:, None],
        "has_label": has_label,
        "joint_weight": joint_weights(weights, q_std, poor_fit) * teaches,
        "betas_weight": betas_weights(weights, poor_fit) * has_label,
        "focal": focal,
        "ray": ray.astype(np.float32),
    }
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
    return TrainBatch(ids=tuple(p.id for p in people), **tensors)


def concatenate(parts: Sequence[TrainBatch]) -> TrainBatch:
    """One batch of the people of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    tensors: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
    return TrainBatch(ids=tuple(id for part in parts for id in part.ids), **tensors)


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


def q_in_crop(
    q: Float32[np.ndarray, "B 46"],
    flip: Bool[np.ndarray, "B"],
    rotation: Float64[np.ndarray, "B"],
    turn: Float64[np.ndarray, "B 3 3"] | None = None,
) -> Float32[np.ndarray, "B 46"]:
    """q (B, 46) of the person as the crop shows it: mirrored where flip (B,), turned by rotation (B,) rad.

    turn: of the pelvis to the axes of the crop's upright camera, before that.
    Mirrored angles are kept where they leave the joint limits (decision 0017): the pose is the true one of the mirror
    image; `within_limits` finds the joints.
    """
    exact = torch.from_numpy(q.astype(np.float64))
    if turn is not None:
        exact = turn_pelvis(exact, torch.from_numpy(turn))
    shown: Tensor = torch.where(torch.from_numpy(flip)[:, None], mirror_q(exact), exact)
    return turn_in_image_plane(shown, torch.from_numpy(rotation)).numpy().astype(np.float32)


def mirrored_joint_order(
    q_std: Float32[np.ndarray, "B 46"], flip: Bool[np.ndarray, "B"]
) -> Float32[np.ndarray, "B 46"]:
    """q_std (B, 46) with left and right exchanged where flip (B,)."""
    mirrored = mirror_q(torch.from_numpy(np.array(q_std))).abs().numpy()
    return np.where(flip[:, None], mirrored, q_std)
