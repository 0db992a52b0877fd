"""What passes from the data to the network and its losses: one batch of augmented person crops."""

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pipeline.body.representation import Rotations, q_to_rotations
from pipeline.body.smpl_pose import SmplRotations
from schemas.person import PersonId
from trainer.network.camera_token import CropCameras


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBatch:
    """B people, each in the camera of their augmented crop (x right, y down, z forward), whatever body their labels are
    of.

    patches: RGB of the crop, 256 x 256, channels first, not yet normalised: that is done on the device, after
    `color_scale` (B, 3), the factor per channel (clipped to 255).
    keypoints_2d: crop units and confidence; keypoints_3d: m and confidence; confidence 0 where absent,
    else 0.3 to 1 (pipeline.image.confidence).
    betas: of the label, zero where not has_label. joint_weight (B, 24) and betas_weight (B,): weight of the label's
    joints and shape in the parameter losses; 1 = full.
    focal (B,), ray (B, 2): the crop's camera, see `trainer.network.camera_token.CropCameras`; HSMR's for everyone in a
    batch for a network of camera=crop, whose keypoints_2d are in units of the affine crop.
    """

    ids: tuple[PersonId, ...]
    patches: UInt8[Tensor, "B 3 256 256"]
    color_scale: Float[Tensor, "B 3"]
    keypoints_2d: Float[Tensor, "B 44 3"]
    keypoints_3d: Float[Tensor, "B 44 4"]
    betas: Float[Tensor, "B 10"]
    has_label: Bool[Tensor, "B"]
    joint_weight: Float[Tensor, "B 24"]
    betas_weight: Float[Tensor, "B"]
    focal: Float[Tensor, "B"]
    ray: Float[Tensor, "B 2"]

    @property
    def cameras(self) -> CropCameras:
        """As the network takes them."""
        return CropCameras(self.focal, self.ray)

    def label_rotations(self) -> Float[Tensor, "B 24 3 3"]:
        """Of the label's joints, as the network's output has them."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, count: int) -> list[Self]:
        """The batch cut into `count` batches in order, or as many as it has people, as equal as can be."""
        cuts = np.linspace(0, len(self), min(count, len(self)) + 1).round().astype(int).tolist()
        return [self._stretch(slice(start, end)) for start, end in pairwise(cuts)]

    def first(self, count: int) -> Self:
        """The first people of the batch."""
        return self._stretch(slice(0, count))

    def _stretch(self, rows: slice) -> Self:
        return replace(self, **{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def to(self, device: torch.device) -> Self:
        """The batch with its tensors on `device`."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "ids"}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBatch(CropBatch):
    """With SKEL labels: q, turned and mirrored with the crop, and q_std rad, how far it may be off by its own account;
    zero where not has_label. Weights are from the labels' uncertainty. female (B,): whose SKEL body is the female one
    where people are given the body of their gender.
    """

    q: Float[Tensor, "B 46"]
    q_std: Float[Tensor, "B 46"]
    female: Bool[Tensor, "B"]

    def label_rotations(self) -> Rotations:
        """The joint rotations Rp."""
        return q_to_rotations(self.q)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmplBatch(CropBatch):
    """With SMPL labels, for HMR2.0: rotations, turned and mirrored with the crop, the identity where not has_label. A
    label counts in full, betas_weight is 0 where it says nothing of the shape.
    """

    rotations: Float[Tensor, "B 24 3 3"]

    def label_rotations(self) -> SmplRotations:
        return self.rotations
