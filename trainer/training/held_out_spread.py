"""How far off predictions are on held-out people, and what the network said of it: the calibration of its spread."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from schemas.skel import N_BETAS, N_Q
from trainer.data import TrainBatch
from trainer.network.hsmr import HsmrOutput
from trainer.network.spread_head import Spread

N_QUANTITIES: Final = N_Q + N_BETAS
OWN_SHARE: Final = 0.25  # the least share of a squared difference that counts as the prediction's own


@dataclass(slots=True)
class HeldOutSpread:
    """Sums over labelled people, of q (46) and betas (10) in a row; ranks add theirs up.

    A label is not the truth: the square of prediction minus label holds the label's own variance, q_std^2, which is
    taken off, but never more than 1 - OWN_SHARE of it, since labels may overstate theirs. The betas of labels state
    none, so that betas_std errs on the wide side.
    """

    people: Float64[Tensor, ""]
    squares: Float64[Tensor, "56"]  # (prediction - label)^2, q in rad
    label_variances: Float64[Tensor, "56"]
    z_squares: Float64[Tensor, "56"]  # both once more, each over the square of the head's std
    label_z_squares: Float64[Tensor, "56"]

    @classmethod
    def empty(cls, device: torch.device) -> "HeldOutSpread":
        sums = torch.zeros(4, N_QUANTITIES, dtype=torch.float64, device=device)
        return cls(sums.new_zeros(()), *sums.unbind())

    def take_in(self, predicted: HsmrOutput, spread: Spread | None, batch: TrainBatch) -> None:
        """A batch of predictions and labels. Without a spread that of a network without the head: none."""
        labelled = batch.has_label
        squares, variances = (
            x[labelled].double() for x in (differences(predicted, batch).square(), label_variances(batch))
        )
        self.people += labelled.sum()
        self.squares += squares.sum(0)
        self.label_variances += variances.sum(0)
        if spread is not None:
            stated = torch.cat(spread, 1)[labelled].double().square()
            self.z_squares += (squares / stated).sum(0)
            self.label_z_squares += (variances / stated).sum(0)

    def add_up(self, all_reduce: Callable[[Float64[Tensor, "..."]], object]) -> None:
        """Replace the sums by those over all ranks."""
        for part in (self.people, self.squares, self.label_variances, self.z_squares, self.label_z_squares):
            all_reduce(part)

    def one_for_all(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """One standard deviation for everyone: of q (46,) rad, of betas (10,); empty without labelled people."""
        found = self._own(self.squares, self.label_variances)
        return found[:N_Q], found[N_Q:]

    def factors(self) -> tuple[float, ...]:
        """What the head's std (56,) are multiplied by so that mean z^2 is 1; empty without head or labelled people."""
        return self._own(self.z_squares, self.label_z_squares) if self.z_squares.any() else ()

    def _own(self, squares: Float64[Tensor, "56"], of_labels: Float64[Tensor, "56"]) -> tuple[float, ...]:
        """Roots of the means of what is the predictions' own."""
        if not self.people:
            return ()
        return tuple(torch.sqrt((squares - of_labels).clamp_min(OWN_SHARE * squares) / self.people).tolist())


def differences(predicted: HsmrOutput, batch: TrainBatch) -> Float[Tensor, "B 56"]:
    """Prediction minus label: q rad, as wrapped angles in [-pi, pi); betas."""
    q = torch.remainder(predicted.q - batch.q + torch.pi, 2 * torch.pi) - torch.pi
    return torch.cat([q, predicted.betas - batch.betas], 1)


def label_variances(batch: TrainBatch) -> Float[Tensor, "B 56"]:
    """By the labels' own account: q_std^2, rad^2; none for betas."""
    return torch.cat([batch.q_std.square(), torch.zeros_like(batch.betas)], 1)
