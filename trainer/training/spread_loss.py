"""What the spread head is trained by: how likely the label is, given the estimate and how far off both may be."""

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.data import TrainBatch
from trainer.network.hsmr import HsmrOutput
from trainer.network.spread_head import QStd
from trainer.training.held_out_spread import q_differences


def spread_loss(predicted: HsmrOutput, spread: QStd, batch: TrainBatch) -> Float[Tensor, ""]:
    """Mean over labelled people and q of log(v) / 2 + d^2 / (2 v), d = prediction - label, v = std^2 + the
    label's own q_std^2: the label's error is not the prediction's. 0 without labelled people.

    No gradient reaches the prediction.
    """
    with torch.autocast(predicted.q.device.type, enabled=False):
        squares = q_differences(predicted, batch).detach().square()
        variance = spread.square() + batch.q_std.square()
        each = (variance.log() + squares / variance).mean(1) / 2
        labelled = batch.has_label.to(each)
        return (each * labelled).sum() / labelled.sum().clamp_min(1)
