"""One worker of a training run: steps over its share of every global batch, validates, saves, and can be restarted.

Knows torch.distributed but not Ray: a test, a laptop and a cluster run this same loop.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from trainer.checkpoint import continue_adamw, read_adamw_state
from trainer.data import CropBatch, batches_per_epoch, open_epoch, open_validation
from trainer.training.batch_gradients import BatchGradients
from trainer.training.held_out_pictures import HeldOutPictures
from trainer.training.initial_network import initial_network
from trainer.training.job import Outcome, Place, Progress, TrainingJob
from trainer.training.judge import adversarial_prior
from trainer.training.optimisation import WeightAverage, judged_weights, make_optimizer, make_scaler, set_learning_rate
from trainer.training.ranks import gathered, summed
from trainer.training.record import row_counts
from trainer.training.run_files import checkpoint_name, write_checkpoint, write_curves, write_pictures
from trainer.training.state import TrainingState
from trainer.training.state_writer import StateWriter
from trainer.training.trained_body import load_trained_body
from trainer.training.validation import validate

LOSS_INTERVAL: Final = 20  # steps between readings of the loss, and questions to others: each one waits
STATE: Final = "state.pt"


class TrainingDivergedError(RuntimeError):
    """The loss is no longer finite; the message says since when and what to change."""


StepHook = Callable[[int, nn.Module], None]


class TrainingWorker:
    """State of one worker between steps. All ranks hold the same weights and take the same decisions."""

    def __init__(
        self,
        job: TrainingJob,
        place: Place,
        report: Callable[[Progress], None] = lambda progress: None,
        about_to_stop: Callable[[], bool] = lambda: False,
    ):
        """Load the networks and, where an earlier attempt has left one, its state. Raises CheckpointError.

        about_to_stop: whether to save soon, the same for all ranks, who ask it in the same steps.
        """
        config = job.config
        self.job, self.place, self._report, self._about_to_stop = job, place, report, about_to_stop
        self.body = load_trained_body(config.network.head, config.body, place.device)
        self.network = initial_network(config.network, job.init_uri, config.data.seed).to(place.device)
        self.optimizer = make_optimizer(self.network, config.optimizer)
        if config.optimizer.resume and job.init_uri is not None:
            continue_adamw(self.optimizer, self.network, read_adamw_state(job.init_uri, self.network))
        self.scaler = make_scaler(config.optimizer, place.device)
        decay = config.optimizer.ema_decay
        self.average = WeightAverage(self.network, decay) if decay else None
        self.prior = adversarial_prior(config, place) if config.prior.weight else None
        self.step, self.epoch, self.batches = 0, 0, 0
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.worker_groups: list[tuple[int, int]] = []
        self._unread: list[Tensor] = []
        self._counts: dict[str, int] = {}
        self._resume()
        if not self.worker_groups or self.worker_groups[-1][1] != place.world:
            self.worker_groups.append((self.step, place.world))
        self._writer = StateWriter(job.storage, job.file(STATE), place.device)
        self._gradients = BatchGradients(self.network, config, place, self.body, self.prior, self.scaler)

    def run(self, on_gradients: StepHook = lambda step, network: None) -> Outcome:
        """Train to the end of the schedule. `on_gradients` sees the network between backward and update.

        Raises TrainingDivergedError, NobodyToTrainOnError, TooManyLostError.
        """
        with self._writer:
            while (reason := self._ended()) is None:
                self._train_epoch(on_gradients)
            if not self.history or self.history[-1]["step"] != self.step:
                self._validate()
        return Outcome(
            steps=self.step,
            epochs=self.epoch,
            stopped_because=reason,
            history=self.history,
            losses=self.losses,
            best=self._best(),
            best_checkpoint=checkpoint_name(self.job, self._best()),
            data_counts=self._counts,
            worker_groups=self.worker_groups,
        )

    def _train_epoch(self, on_gradients: StepHook) -> None:
        """The rest of the current epoch, or as much of it as the schedule allows."""
        config, place = self.job.config, self.place
        stream = open_epoch(
            config.data,
            self.job.index,
            self.epoch,
            rank=place.rank,
            world=place.world,
            start_batch=self.batches,
            camera=config.network.camera,
            head=config.network.head,
        )
        for batch in stream:
            self._train_on(batch, on_gradients)
            if self.step % config.schedule.validate_every == 0:
                self._validate()
            elif self.step % config.run.save_every == 0 or (self.step % LOSS_INTERVAL == 0 and self._about_to_stop()):
                self._save()
            if self._ended() is not None:
                return
        self._counts = row_counts(stream.rows, gathered(stream.counts, self.place))
        self.epoch, self.batches = self.epoch + 1, 0

    def _train_on(self, batch: CropBatch, on_gradients: StepHook) -> None:
        config = self.job.config.optimizer
        set_learning_rate(self.optimizer, config, self.step, self._planned_steps)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss, predicted = self._gradients.add(batch.to(self.place.device), self.step)
        self.scaler.unscale_(self.optimizer)
        on_gradients(self.step, self.network)
        if config.gradient_clip:
            for part in self.network.apart():  # or the spread's gradients would shrink those of the pose
                nn.utils.clip_grad_norm_(part, config.gradient_clip)
        self.scaler.step(self.optimizer)  # not where float16 overflowed, on any rank
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.network)
        if self.prior is not None:
            self.prior.learn(predicted, self.step)
        self.step, self.batches = self.step + 1, self.batches + 1
        self._unread.append(loss)
        if len(self._unread) >= LOSS_INTERVAL:
            self._read_losses()
            self._tell()

    def _read_losses(self) -> None:
        """Take the losses of the last steps off the device: the means over all ranks, as the curve shows them."""
        if not self._unread:
            return
        values = summed(torch.stack(self._unread), self.place) / self.place.world
        first = self.step - len(self._unread)
        self._unread = []
        if not torch.isfinite(values).all():
            first += int((~torch.isfinite(values)).nonzero()[0])
            raise TrainingDivergedError(
                f"The loss is no longer finite at step {first}. Lower optimizer.learning_rate or set "
                "optimizer.gradient_clip=1; these settings start a new run."
            )
        self.losses += values.tolist()

    def _tell(self, validation: Mapping[str, float] | None = None) -> None:
        if self.place.rank:
            return
        people, loss = self.step * self.job.config.data.global_batch, self.losses[-1] if self.losses else None
        steps = self._planned_steps
        self._report(Progress(step=self.step, steps=steps, people=people, loss=loss, validation=validation))

    @cached_property
    def _planned_steps(self) -> int:
        schedule, data = self.job.config.schedule, self.job.config.data
        return min(schedule.max_steps, schedule.epochs * batches_per_epoch(data, self.job.index))

    def _ended(self) -> str | None:
        """Why training is over, or None. The same on all ranks."""
        schedule = self.job.config.schedule
        if schedule.patience and self._validations_since_best() >= schedule.patience:
            return f"no better {schedule.best_by} in {schedule.patience} validations"
        if self.step >= schedule.max_steps:
            return f"schedule.max_steps={schedule.max_steps}"
        if self.epoch >= schedule.epochs:
            return f"schedule.epochs={schedule.epochs}"
        return None

    def _best(self) -> dict[str, float]:
        """The first row with the lowest `best_by`; one without labelled people counts as worst."""
        name = self.job.config.schedule.best_by
        return min(self.history, key=lambda row: row.get(name, float("inf")))

    def _validations_since_best(self) -> int:
        return len(self.history) - 1 - self.history.index(self._best()) if self.history else 0

    def _validate(self) -> None:
        """Held-out metrics of the averaged weights, or of the plain ones; the best so far become the checkpoint."""
        self._read_losses()
        config, place = self.job.config, self.place
        batch_size = max(1, config.data.global_batch // place.world)
        with judged_weights(self.network, self.average):
            batches = open_validation(
                config.data,
                self.job.index,
                batch_size=batch_size,
                rank=place.rank,
                world=place.world,
                camera=config.network.camera,
                head=config.network.head,
            )
            pictures = None if place.rank else HeldOutPictures()
            held_out = validate(self.network, batches, self.body, pictures)
            held_out.add_up(lambda values: summed(values, self.place))
            recent = self.losses[-config.schedule.validate_every :]
            row = {"step": self.step, "epoch": self.epoch, "loss": sum(recent) / max(1, len(recent))}
            self.history.append(row | held_out.metrics())
            if self._best() is self.history[-1] and place.rank == 0:
                write_checkpoint(self.job, self.network, held_out.spread, self.history[-1])
        self._save()
        self._tell(self.history[-1])
        if pictures is not None:
            write_pictures(self.job, pictures, self.history[-1])
            write_curves(self.job, self.losses, self.history)

    def _save(self) -> None:
        self._read_losses()
        if self.place.rank:
            return
        average = self.average
        state = TrainingState(
            step=self.step,
            epoch=self.epoch,
            batches=self.batches,
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            average=None if average is None else average.weights,
            average_updates=0 if average is None else average.updates,
            prior=None if self.prior is None else self.prior.state_dict(),
            history=self.history,
            losses=self.losses,
            worker_groups=self.worker_groups,
        )
        self._writer.save(state)

    def _resume(self) -> None:
        """Go on from the saved state of an earlier attempt, if there is one."""
        state = TrainingState.load(self.job.storage, self.job.file(STATE))
        if state is None:
            return
        self.network.load_state_dict(state.network)
        self.optimizer.load_state_dict(dict(state.optimizer))
        if state.scaler:
            self.scaler.load_state_dict(dict(state.scaler))
        if self.average is not None and state.average is not None:
            weights = {name: value.to(self.place.device) for name, value in state.average.items()}
            self.average.weights, self.average.updates = weights, state.average_updates
        if self.prior is not None and state.prior is not None:
            self.prior.load_state_dict(state.prior)
        self.step, self.epoch, self.batches = state.step, state.epoch, state.batches
        self.history, self.losses, self.worker_groups = state.history, state.losses, state.worker_groups
