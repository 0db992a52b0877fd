"""How far off predictions are on held-out people, and what the network said of it: the calibration of its spread."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pipeline.body.rotations import wrapped
from schemas.skel import N_BETAS, N_Q
from trainer.data import TrainBatch
from trainer.network.hsmr import HsmrOutput
from trainer.network.spread_head import QStd

OWN_SHARE: Final = 0.25  # the least share of a squared difference that counts as the prediction's own


@dataclass(slots=True)
class HeldOutSpread:
    """Sums over labelled people; ranks add theirs up.

    A label is not the truth: the square of prediction minus label holds the label's own variance, q_std^2, which is
    taken off, but never more than 1 - OWN_SHARE of it, since labels may overstate theirs. The betas of labels state
    none, so that betas_std errs on the wide side.
    """

    people: Float64[Tensor, ""]
    q_squares: Float64[Tensor, "46"]  # (prediction - label)^2, rad^2
    label_variances: Float64[Tensor, "46"]
    z_squares: Float64[Tensor, "46"]  # both once more, each over the square of the head's std
    label_z_squares: Float64[Tensor, "46"]
    betas_squares: Float64[Tensor, "10"]

    @classmethod
    def empty(cls, device: torch.device) -> "HeldOutSpread":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(zeros(), zeros(N_Q), zeros(N_Q), zeros(N_Q), zeros(N_Q), zeros(N_BETAS))

    def take_in(self, predicted: HsmrOutput, spread: QStd | None, batch: TrainBatch) -> None:
        """A batch of predictions and labels; spread: what the head says of them, None without one."""
        labelled = batch.has_label
        squares, variances = q_differences(predicted, batch)[labelled].square(), batch.q_std[labelled].square()
        self.people += labelled.sum()
        self.q_squares += squares.double().sum(0)
        self.label_variances += variances.double().sum(0)
        self.betas_squares += (predicted.betas - batch.betas)[labelled].double().square().sum(0)
        if spread is not None:
            stated = spread[labelled].double().square()
            self.z_squares += (squares / stated).sum(0)
            self.label_z_squares += (variances / stated).sum(0)

    def add_up(self, all_reduce: Callable[[Float64[Tensor, "..."]], object]) -> None:
        """Replace the sums by those over all ranks."""
        for item in fields(self):
            all_reduce(getattr(self, item.name))

    def q_std(self) -> tuple[float, ...]:
        """One standard deviation (46,) for everyone, rad; empty without labelled people."""
        return self._own(self.q_squares, self.label_variances)

    def betas_std(self) -> tuple[float, ...]:
        """One (10,) for everyone; empty without labelled people."""
        return self._own(self.betas_squares, torch.zeros_like(self.betas_squares))

    def factors(self) -> tuple[float, ...]:
        """What the head's std (46,) are multiplied by so that mean z^2 is 1; empty without head or labelled people."""
        return self._own(self.z_squares, self.label_z_squares) if self.z_squares.any() else ()

    def _own(self, squares: Float64[Tensor, "n"], of_labels: Float64[Tensor, "n"]) -> tuple[float, ...]:
        """Roots of the means of what is the predictions' own."""
        if not self.people:
            return ()
        return tuple(torch.sqrt((squares - of_labels).clamp_min(OWN_SHARE * squares) / self.people).tolist())


def q_differences(predicted: HsmrOutput, batch: TrainBatch) -> Float[Tensor, "B 46"]:
    """Prediction minus label, rad, as wrapped angles in [-pi, pi)."""
    return wrapped(predicted.q - batch.q)
