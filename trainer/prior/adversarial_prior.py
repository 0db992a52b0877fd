"""The game between network and discriminator, in its least-squares form (HMR, CVPR 2018, eq. 4 and 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from trainer.network.networks import NetworkOutput
from trainer.prior.discriminator import Discriminator
from trainer.prior.mocap_poses import RealPoses


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorConfig:
    """weight: of the term in the loss, 0 = off (HMR2.0 uses 0.0005). mocap: npz files, see `trainer.prior.mocap_poses`.

    learning_rate, weight_decay: of the discriminator's AdamW.
    """

    weight: float = 0.0
    mocap: tuple[str, ...] = ()
    learning_rate: float = 1e-5
    weight_decay: float = 1e-4


class AdversarialPrior:
    """One per rank; all ranks hold the same discriminator.

    In a training step: add `config.weight * implausibility(predicted)` to the loss; after the network's own step, call
    `learn` with the same prediction.
    """

    def __init__(
        self,
        config: PriorConfig,
        mocap: RealPoses,
        *,
        seed: int,
        device: torch.device,
        people: int,
        rows: range | None = None,
    ) -> None:
        """people: of a global batch. rows: those that this rank predicts, all of them where there is no other rank."""
        self.config, self.mocap, self._seed = config, mocap, seed
        self._device, self._people, self._rows = device, people, rows or range(people)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.discriminator = Discriminator().to(device)
        self._optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def implausibility(self, predicted: NetworkOutput) -> Float[Tensor, ""]:
        """What the network pays: sum over scores of (D - 1)^2, mean over people. No gradient for the discriminator."""
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        with torch.autocast(self._device.type, enabled=False):
            scores = functional_call(self.discriminator, frozen, (predicted.rotations, predicted.betas))
            return (scores - 1).square().sum(1).mean()

    def learn(self, predicted: NetworkOutput, step: int) -> Float[Tensor, ""]:
        """One step of the discriminator: sum of (D(real) - 1)^2 + D(predicted)^2, mean over the people of the global
        batch; returns this rank's part of it.

        The real examples depend only on seed, step and the size of the global batch, each rank taking its rows.
        """
        pose, betas = self.mocap.draw(self._people, seed=self._seed, step=step)
        share = slice(self._rows.start, self._rows.stop)
        real = self.mocap.rotations(pose[share].to(self._device)), betas[share].to(self._device)
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, enabled=False):
            told = self.discriminator(predicted.rotations.detach(), predicted.betas.detach())
            loss = ((self.discriminator(*real) - 1).square() + told.square()).sum(1).mean()
            loss = loss * (len(self._rows) / self._people)
        loss.backward()
        self._share_gradients()
        self._optimizer.step()
        return loss.detach()

    def _share_gradients(self) -> None:
        if len(self._rows) == self._people:
            return
        for parameter in self.discriminator.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs; `trainer.checkpoint.save_state` takes it."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.discriminator.load_state_dict(state["discriminator"])
        self._optimizer.load_state_dict(state["optimizer"])
