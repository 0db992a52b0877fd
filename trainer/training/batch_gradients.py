"""The gradients of a worker's share of a global batch: forward and backward, in one piece or several."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.data import CropBatch, TrainBatch, rows_of_rank
from trainer.network.crop_input import normalise
from trainer.network.drop_path import Paths, draw_paths
from trainer.network.networks import EveryLayer, Network, NetworkOutput
from trainer.network.vit import VitConfig
from trainer.prior import AdversarialPrior
from trainer.training.job import Place
from trainer.training.losses import training_loss
from trainer.training.ranks import summed
from trainer.training.spread_loss import spread_loss
from trainer.training.train_config import TrainConfig
from trainer.training.trained_body import TrainedBodies


class BatchGradients:
    """Calls the network as the settings say: compiled, shared between ranks, in half precision, in micro-batches."""

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        place: Place,
        body: TrainedBodies[Any, Any],
        prior: AdversarialPrior | None,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self._config, self._body, self._prior, self._scaler, self._place = config, body, prior, scaler, place
        self._precision = getattr(torch, config.optimizer.precision)
        if config.network.compile:
            network.backbone.compile()  # in place: the weights keep their names; the head takes minutes to compile
        self._parallel: nn.Module = EveryLayer(network)
        if place.world > 1:
            devices = None if place.device.type == "cpu" else [place.device]
            self._parallel = DistributedDataParallel(self._parallel, device_ids=devices)

    def add(self, batch: CropBatch, step: int) -> tuple[Float[Tensor, ""], NetworkOutput]:
        """Add this rank's part of the gradients of the mean loss over the global batch to those that the network has,
        as the scaler scales them: its part of that loss, and the prediction. A person counts world / global_batch,
        however many the rank has, so that the mean over the ranks is the mean over people.
        """
        world, people = self._place.world, self._config.data.global_batch
        parts = batch.parts(self._config.run.accumulate)
        paths = self._paths(step, [len(part) for part in parts])
        labelled = self._labelled(batch).clamp_min(1)
        losses: list[Tensor] = []
        found: list[NetworkOutput] = []
        for number, (part, own) in enumerate(zip(parts, paths, strict=True), 1):
            with self._ranks_add_up(number == len(parts)):
                loss, beside, predicted = self._loss(part, own)
                loss = loss * (len(part) * world / people)
                beside = beside * (part.has_label.sum() * world / labelled)
                self._scaler.scale(loss + beside).backward()
            losses.append(loss.detach())
            found.append(type(predicted)(*(value.detach() for value in predicted)))
        return torch.stack(losses).sum(), type(found[0])(*map(torch.cat, zip(*found, strict=True)))

    def _labelled(self, batch: CropBatch) -> Int64[Tensor, ""]:
        """How many people have a label: of the global batch where the spread is trained, which alone asks."""
        own = batch.has_label.sum()
        return summed(own, self._place) if self._config.network.uncertainty == "head" else own

    def _paths(self, step: int, sizes: Sequence[int]) -> Sequence[Paths | None]:
        """For each micro-batch of this worker's share, None without stochastic depth."""
        config, place, backbone = self._config, self._place, self._config.network.network().backbone
        if not config.network.drop_path or not isinstance(backbone, VitConfig):
            return [None] * len(sizes)
        people, own = config.data.global_batch, rows_of_rank(config.data, place.rank, place.world)
        paths = draw_paths(config.network.drop_path, backbone.depth, people, seed=config.data.seed, step=step)
        return paths[own.start : own.stop].to(place.device).split(list(sizes))

    def _loss(self, batch: CropBatch, paths: Paths | None) -> tuple[Tensor, Tensor | float, NetworkOutput]:
        """Mean over people. Beside it the spread's, over labelled people, which has no weight: it reaches the head
        alone, and AdamW divides by its scale.
        """
        mixed = self._precision is not torch.float32
        with torch.autocast(batch.patches.device.type, dtype=self._precision if mixed else None, enabled=mixed):
            layers, spread = self._parallel(normalise(batch.patches, batch.color_scale), batch.cameras, paths)
        loss, predicted = training_loss(self._body, layers, batch, self._config.loss), layers[-1]
        if self._prior is not None:
            loss = loss + self._prior.config.weight * self._prior.implausibility(predicted)
        beside = spread_loss(predicted, spread, batch) if spread is not None and isinstance(batch, TrainBatch) else 0.0
        return loss, beside, predicted

    def _ranks_add_up(self, last: bool) -> AbstractContextManager[None]:
        """Ranks exchange gradients once a step, in the backward pass of the last micro-batch."""
        parallel = self._parallel
        return nullcontext() if last or not isinstance(parallel, DistributedDataParallel) else parallel.no_sync()
