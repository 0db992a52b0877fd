"""How far off predictions are on held-out people, and what the network said of it: the calibration of its spread."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pipeline.body.rotations import wrapped
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED
from trainer.data import TrainBatch
from trainer.network.hsmr import HsmrOutput
from trainer.network.spread_head import QStd

LABEL_BETAS_STD: Final = 1.0
"""How far off the betas of labels are taken to be, which state no error of theirs: what fits hold them to their anchor
by (`pipeline.fit.objectives.skelify_config`)."""


@dataclass(slots=True)
class HeldOutSpread:
    """Sums over labelled people; ranks add theirs up.

    A label is not the truth. Where its error is new to the network, the square of prediction minus label holds the
    label's variance besides the prediction's own; where the network has learned the error, it lacks it. Nobody can tell
    the two apart without the truth, so the difference stands for the error, in between (decision 0024). Betas, which
    keypoints hardly tell, are the worse case: labels and networks are too average alike.
    """

    people: Float64[Tensor, ""]
    q_squares: Float64[Tensor, "46"]  # (prediction - label)^2, rad^2
    z_squares: Float64[Tensor, "46"]  # the same over the square of the head's std
    betas_squares: Float64[Tensor, "10"]
    labels: Float64[Tensor, "56"]  # q rad and betas of the labels
    labels_squares: Float64[Tensor, "56"]

    @classmethod
    def empty(cls, device: torch.device) -> "HeldOutSpread":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(zeros(), zeros(N_Q), zeros(N_Q), zeros(N_BETAS), zeros(N_Q + N_BETAS), zeros(N_Q + N_BETAS))

    def take_in(self, predicted: HsmrOutput, spread: QStd | None, batch: TrainBatch) -> None:
        """A batch of predictions and labels; spread: what the head says of them, None without one."""
        labelled = batch.has_label
        squares = q_differences(predicted, batch)[labelled].square()
        self.people += labelled.sum()
        self.q_squares += squares.double().sum(0)
        self.betas_squares += (predicted.betas - batch.betas)[labelled].double().square().sum(0)
        labels = torch.cat([batch.q, batch.betas], 1)[labelled].double()
        self.labels += labels.sum(0)
        self.labels_squares += labels.square().sum(0)
        if spread is not None:
            self.z_squares += (squares / spread[labelled].double().square()).sum(0)

    def add_up(self, all_reduce: Callable[[Float64[Tensor, "..."]], object]) -> None:
        """Replace the sums by those over all ranks."""
        for item in fields(self):
            all_reduce(getattr(self, item.name))

    def q_std(self) -> tuple[float, ...]:
        """One standard deviation (46,) for everyone, rad; empty without labelled people."""
        return self._roots(self.q_squares)

    def betas_std(self) -> tuple[float, ...]:
        """One (10,) for everyone, LABEL_BETAS_STD included; empty without labelled people."""
        return self._roots(self.betas_squares + self.people * LABEL_BETAS_STD**2)

    def population_std(self) -> tuple[float, ...]:
        """How much people differ, (56,), q rad and betas, LABEL_BETAS_STD included; empty without labelled people. The
        pelvis is turned any way: a uniform angle's.
        """
        found = self._roots((self.labels_squares - self.labels.square() / self.people).clamp_min(0))
        betas = (math.hypot(std, LABEL_BETAS_STD) for std in found[N_Q:])
        return (*[math.pi / math.sqrt(3)] * N_UNLIMITED, *found[N_UNLIMITED:N_Q], *betas) if found else ()

    def factors(self) -> tuple[float, ...]:
        """What the head's std (46,) are multiplied by so that mean z^2 is 1; empty without head or labelled people."""
        return self._roots(self.z_squares) if self.z_squares.any() else ()

    def _roots(self, sums: Float64[Tensor, "n"]) -> tuple[float, ...]:
        """Of the means over people."""
        return tuple(torch.sqrt(sums / self.people).tolist()) if self.people else ()


def q_differences(predicted: HsmrOutput, batch: TrainBatch) -> Float[Tensor, "B 46"]:
    """Prediction minus label, rad, as wrapped angles in [-pi, pi)."""
    return wrapped(predicted.q - batch.q)
