"""Held-out validation: how far predictions are from the keypoints and from the labels of people never trained on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from pipeline.image.camera import project
from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_error import kp2d_error, usable_confidence
from pipeline.numerics.error_metrics import mpjpe_mm, pa_mpjpe_mm, pck, right_keypoints
from schemas.keypoints import N_KEYPOINTS
from trainer.data import CropBatch
from trainer.network.crop_input import normalise
from trainer.network.networks import EveryLayer, Network, NetworkOutput
from trainer.training.held_out_pictures import HeldOutPictures
from trainer.training.held_out_spread import HeldOutSpread
from trainer.training.trained_body import TrainedBodies

PCK_THRESHOLDS = (0.05, 0.1)  # of the crop's side


@dataclass(slots=True)
class HeldOut:
    """Sums over people; ranks add theirs up. MPJPE to labels: the body's joints aligned at joint 0, labelled people."""

    sums: Float64[Tensor, "5"]
    right: Float64[Tensor, "thresholds 44"]
    valid: Float64[Tensor, "44"]
    spread: HeldOutSpread

    @classmethod
    def empty(cls, device: torch.device) -> "HeldOut":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(zeros(5), zeros(len(PCK_THRESHOLDS), N_KEYPOINTS), zeros(N_KEYPOINTS), HeldOutSpread.empty(device))

    def add_up(self, all_reduce: Callable[[Float64[Tensor, "..."]], object]) -> None:
        """Replace the sums by those over all ranks."""
        for part in (self.sums, self.right, self.valid):
            all_reduce(part)
        self.spread.add_up(all_reduce)

    def metrics(self) -> dict[str, float]:
        """kp2d_error_px (px of the 256 crop), mpjpe_mm and pa_mpjpe_mm to the labels, pck_05 and pck_10 (of the crop's
        side), and how many people they are over. Only what is defined: no labelled people, no mpjpe_mm."""
        seen, kp2d, labelled, mpjpe, pa = self.sums.tolist()
        found: dict[str, float] = {"people": seen, "labelled": labelled}
        if seen:
            found["kp2d_error_px"] = kp2d / seen * CROP_PX
        if labelled:
            found |= {"mpjpe_mm": mpjpe / labelled, "pa_mpjpe_mm": pa / labelled}
        if (self.valid > 0).any():
            rates = pck(self.right, self.valid).mean.tolist()
            found |= {f"pck_{round(100 * t):02d}": rate for t, rate in zip(PCK_THRESHOLDS, rates, strict=True)}
        return found


@torch.no_grad()
def validate(
    network: Network,
    batches: Iterable[CropBatch],
    bodies: TrainedBodies[Any, Any],
    pictures: HeldOutPictures | None = None,
) -> HeldOut:
    """Predictions for plain crops against their keypoints and labels; pictures: takes in the first people. Leaves the
    network in eval mode.
    """
    network.eval()
    found = HeldOut.empty(bodies.device)
    for batch in batches:
        predicted = _take_in(found, network, batch, bodies)
        if pictures is not None:
            pictures.take_in(batch, predicted, bodies)
    return found


def _take_in(found: HeldOut, network: Network, batch: CropBatch, bodies: TrainedBodies[Any, Any]) -> NetworkOutput:
    batch = batch.to(bodies.device)
    body = bodies.of(batch)
    layers, spread = EveryLayer(network)(normalise(batch.patches), batch.cameras)
    predicted = layers[-1]
    keypoints, has_label = batch.keypoints_2d, batch.has_label
    projected = project(body.keypoints(predicted), predicted.cam_t, batch.focal)
    error, confidence = kp2d_error(projected, keypoints), usable_confidence(keypoints)
    seen = torch.isfinite(error)
    right, valid = right_keypoints(projected, keypoints[..., :2], confidence > 0, 1.0, PCK_THRESHOLDS)
    found.right += right
    found.valid += valid
    joints, true_joints = body.joints(predicted), body.label_joints(batch)
    mpjpe = mpjpe_mm(joints, true_joints, root=0)[has_label].double()
    pa = pa_mpjpe_mm(joints[has_label], true_joints[has_label]).double()
    found.sums += torch.stack(
        [seen.sum().double(), error[seen].double().sum(), has_label.sum().double(), mpjpe.sum(), pa.sum()]
    )
    body.measure_spread(found.spread, predicted, spread, batch)
    return predicted
