"""The training losses of HSMR and HMR2.0: each a sum over a person, then the mean over people (docs/objectives.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.image.camera import project
from schemas.keypoints import PELVIS
from schemas.skel import N_UNLIMITED, q_limits
from trainer.data.batch import CropBatch
from trainer.network.hsmr import HsmrOutput
from trainer.network.networks import NetworkOutput
from trainer.training.trained_body import TrainedBodies, TrainedBody

Scalar = Float[Tensor, ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weight of each term; the defaults are the paper's. `limits`: HSMR's joint limit prior, off as in its training.
    `unlabelled_betas`: as `betas`, of people whose label says nothing of their shape, as if it said 0.
    """

    keypoints_3d: float = 0.05
    keypoints_2d: float = 0.01
    orient: float = 0.002
    body: float = 0.001
    betas: float = 0.0005
    limits: float = 0.0
    unlabelled_betas: float = 0.0


class LossTerms(NamedTuple):
    """The terms before their weights, each a scalar.

    keypoints_3d: sum of c |X - X_label|, xyz, relative to the pelvis, m. keypoints_2d: the same in crop units.
    orient, body: squared differences of the rotation matrices (SKEL: Rp) of joint 0 and of joints 1..23.
    betas: squared differences. limits: mean over the 43 limited q of exp(low - q)^2 + exp(q - high)^2; 0 of
    SMPL, which has none. unlabelled_betas: squares of the betas of people whose shape no label tells, whoever was lost
    left out.
    """

    keypoints_3d: Scalar
    keypoints_2d: Scalar
    orient: Scalar
    body: Scalar
    betas: Scalar
    limits: Scalar
    unlabelled_betas: Scalar

    def weighted(self, weights: LossConfig) -> Mapping[str, Scalar]:
        """Each term times its weight: what it adds to the loss."""
        return {f.name: getattr(weights, f.name) * getattr(self, f.name) for f in fields(weights)}

    def total(self, weights: LossConfig) -> Scalar:
        """The loss. Terms of weight 0 are left out, so that nothing in them can reach it."""
        used = [f.name for f in fields(weights) if getattr(weights, f.name) != 0]
        return torch.stack([getattr(weights, name) * getattr(self, name) for name in used]).sum()


class PosedKeypoints(NamedTuple):
    """The 44 keypoints of predicted bodies: points (B, 44, 3) m without camera translation, projected (B, 44, 2) in
    crop units.
    """

    points: Float[Tensor, "B 44 3"]
    projected: Float[Tensor, "B 44 2"]


def pose_keypoints(
    body: TrainedBody[Any, Any], predicted: NetworkOutput, focal: Float[Tensor, "B"] | None = None
) -> PosedKeypoints:
    """Keypoints through body and camera, differentiable, never in half precision. `body` on the network's device.

    focal: of the crops' cameras, crop units; HSMR's by default.
    """
    with torch.autocast(predicted.betas.device.type, enabled=False):
        points = body.keypoints(predicted)
        return PosedKeypoints(points, project(points, predicted.cam_t.to(points.dtype), focal))


def loss_terms(predicted: NetworkOutput, posed: PosedKeypoints, batch: CropBatch) -> LossTerms:
    """All terms. posed: the keypoints of the same prediction.

    Parameter terms count only people with a label, each joint by its joint_weight and the shape by its betas_weight.
    Differentiable; batch tensors must be on the device of the prediction.
    """
    with torch.autocast(predicted.betas.device.type, enabled=False):
        joint_weight = batch.joint_weight * batch.has_label[:, None]
        betas_weight = batch.betas_weight * batch.has_label
        turned = (predicted.rotations - batch.label_rotations()).square().sum((-2, -1)) * joint_weight
        shape = (predicted.betas - batch.betas).square().sum(-1) * betas_weight
        unlabelled = (betas_weight == 0) & (batch.keypoints_2d[..., 2] > 0).any(1)
        return LossTerms(
            keypoints_3d=_keypoints_3d(posed.points, batch.keypoints_3d).mean(),
            keypoints_2d=_keypoints_2d(posed.projected, batch.keypoints_2d).mean(),
            orient=turned[:, 0].mean(),
            body=turned[:, 1:].sum(-1).mean(),
            betas=shape.mean(),
            limits=_beyond_limits(predicted).mean(),
            unlabelled_betas=(predicted.betas.square().sum(-1) * unlabelled).mean(),
        )


def training_loss(
    bodies: TrainedBodies[Any, Any], layers: Sequence[NetworkOutput], batch: CropBatch, weights: LossConfig
) -> Scalar:
    """The mean of the losses of the decoder layers' estimates; the loss where only the last layer makes one."""
    body = bodies.of(batch)
    losses = [loss_terms(one, pose_keypoints(body, one, batch.focal), batch).total(weights) for one in layers]
    return torch.stack(losses).mean()


def _keypoints_3d(found: Float[Tensor, "B 44 3"], label: Float[Tensor, "B 44 4"]) -> Float[Tensor, "B"]:
    difference = (found - found[:, PELVIS, None]) - (label[..., :3] - label[:, PELVIS, None, :3])
    return (difference.abs() * label[..., 3:]).sum((1, 2))


def _keypoints_2d(found: Float[Tensor, "B 44 2"], label: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B"]:
    return ((found - label[..., :2]).abs() * label[..., 2:]).sum((1, 2))


def _beyond_limits(predicted: NetworkOutput) -> Float[Tensor, "B limited"]:
    if not isinstance(predicted, HsmrOutput):
        return torch.zeros_like(predicted.betas[:, :1])
    q = predicted.q
    low, high = (q.new_tensor(limit[N_UNLIMITED:]) for limit in q_limits())
    limited = q[:, N_UNLIMITED:]
    return torch.exp(2 * (low - limited)) + torch.exp(2 * (limited - high))
