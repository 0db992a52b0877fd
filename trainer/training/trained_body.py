"""The body that a network learns to pose, as the training loop knows it: SKEL for HSMR, SMPL for HMR2.0."""

from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from pipeline.body import Skel, Smpl, load_smpl
from pipeline.body.gendered_skel import load_skels, skels_digest
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.runtime.config import BodyConfig
from trainer.data import SmplBatch, TrainBatch
from trainer.network.hmr2 import Hmr2Output
from trainer.network.hsmr import HsmrOutput
from trainer.network.spread_head import QStd
from trainer.network.variants import NetworkHead
from trainer.training.held_out_spread import HeldOutSpread

Points = Float[Tensor, "B 44 3"]
Joints = Float[Tensor, "B 24 3"]
Skin = Float[Tensor, "B 6890 3"]
Output_contra = TypeVar("Output_contra", contravariant=True)
Batch_contra = TypeVar("Batch_contra", contravariant=True)


class TrainedBody(Protocol[Output_contra, Batch_contra]):
    """What loss and validation ask of the bodies of a batch; points in m, without camera translation."""

    def keypoints(self, predicted: Output_contra) -> Points:
        """The 44 keypoints of predicted bodies, differentiable."""
        ...

    def joints(self, predicted: Output_contra) -> Joints:
        """The body's own joints, as predicted."""
        ...

    def skin(self, predicted: Output_contra) -> Skin:
        """The skin's vertices, as predicted."""
        ...

    def label_joints(self, batch: Batch_contra) -> Joints:
        """The same, of the labels."""
        ...

    def measure_spread(
        self, found: HeldOutSpread, predicted: Output_contra, spread: QStd | None, batch: Batch_contra
    ) -> None:
        """Take into `found` how far predictions are from their labels, where a round has a use for it."""
        ...


class TrainedBodies(Protocol[Output_contra, Batch_contra]):
    """The body that everyone has, or the bodies that people have each of their own."""

    @property
    def device(self) -> torch.device: ...

    @property
    def faces(self) -> Integer[np.ndarray, "F 3"]: ...

    def of(self, batch: Batch_contra) -> TrainedBody[Output_contra, Batch_contra]:
        """As the people of a batch have it."""
        ...


class TrainedSkel:
    """Of HSMR: one body for everyone."""

    def __init__(self, skel: Skel) -> None:
        self._skel, self.device, self.faces = skel, skel.device, skel.faces.cpu().numpy()

    def of(self, batch: TrainBatch) -> "TrainedSkel":
        return self

    def keypoints(self, predicted: HsmrOutput) -> Points:
        return self._skel.keypoints(predicted.q.to(self._skel.dtype), predicted.betas.to(self._skel.dtype))

    def joints(self, predicted: HsmrOutput) -> Joints:
        return self._skel.joints(predicted.q, predicted.betas)

    def skin(self, predicted: HsmrOutput) -> Skin:
        return self._skel(predicted.q, predicted.betas).skin_vertices

    def label_joints(self, batch: TrainBatch) -> Joints:
        return self._skel.joints(batch.q, batch.betas)

    def measure_spread(
        self, found: HeldOutSpread, predicted: HsmrOutput, spread: QStd | None, batch: TrainBatch
    ) -> None:
        found.take_in(predicted, spread, batch)


class TrainedSkels:
    """Of HSMR where body.gender=auto: both bodies, each person's by the gender of the label."""

    def __init__(self, male: Skel, female: Skel) -> None:
        self._male, self._female = TrainedSkel(male), TrainedSkel(female)
        self.device, self.faces = male.device, self._male.faces

    def of(self, batch: TrainBatch) -> "MixedSkel":
        return MixedSkel(self._male, self._female, batch.female)


class MixedSkel:
    """Of the people of one batch. Everyone is posed by both bodies, which costs less than the sizes of two parts, which
    the host would have to wait for.
    """

    def __init__(self, male: TrainedSkel, female: TrainedSkel, is_female: Bool[Tensor, "B"]) -> None:
        self._male, self._female, self._is_female = male, female, is_female[:, None, None]

    def keypoints(self, predicted: HsmrOutput) -> Points:
        return torch.where(self._is_female, self._female.keypoints(predicted), self._male.keypoints(predicted))

    def joints(self, predicted: HsmrOutput) -> Joints:
        return torch.where(self._is_female, self._female.joints(predicted), self._male.joints(predicted))

    def skin(self, predicted: HsmrOutput) -> Skin:
        return torch.where(self._is_female, self._female.skin(predicted), self._male.skin(predicted))

    def label_joints(self, batch: TrainBatch) -> Joints:
        return torch.where(self._is_female, self._female.label_joints(batch), self._male.label_joints(batch))

    def measure_spread(
        self, found: HeldOutSpread, predicted: HsmrOutput, spread: QStd | None, batch: TrainBatch
    ) -> None:
        self._male.measure_spread(found, predicted, spread, batch)


class TrainedSmpl:
    """Of HMR2.0. Its spread is not measured: a round has no use for it but as SKEL's q."""

    def __init__(self, smpl: Smpl) -> None:
        self._smpl, self.device, self.faces = smpl, smpl.device, smpl.faces.cpu().numpy()

    def of(self, batch: SmplBatch) -> "TrainedSmpl":
        return self

    def keypoints(self, predicted: Hmr2Output) -> Points:
        return self._smpl.keypoints(predicted.rotations.to(self._smpl.dtype), predicted.betas.to(self._smpl.dtype))

    def joints(self, predicted: Hmr2Output) -> Joints:
        return self._smpl.joints(predicted.rotations, predicted.betas)

    def skin(self, predicted: Hmr2Output) -> Skin:
        return self._smpl(matrix_to_axis_angle(predicted.rotations), predicted.betas).vertices

    def label_joints(self, batch: SmplBatch) -> Joints:
        return self._smpl.joints(batch.rotations, batch.betas)

    def measure_spread(
        self, found: HeldOutSpread, predicted: Hmr2Output, spread: QStd | None, batch: SmplBatch
    ) -> None:
        """Nothing."""


def load_trained_body(head: NetworkHead, config: BodyConfig, device: torch.device) -> TrainedBodies[Any, Any]:
    """Raises BodyFileError."""
    if head == "smpl":
        return TrainedSmpl(load_smpl(config.source, device=device))
    skels = load_skels(config.source, config.gender, device)
    return TrainedSkels(**skels) if len(skels) > 1 else TrainedSkel(*skels.values())


def body_digest(head: NetworkHead, config: BodyConfig) -> str:
    """Of the numbers of the body, or of both. Raises BodyFileError."""
    if head == "smpl":
        return load_smpl(config.source).digest
    return skels_digest(load_skels(config.source, config.gender))
