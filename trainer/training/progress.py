"""Progress of a training run: steps, loss and crops/s, and a line per validation."""

import time

from pipeline.runtime.progress_bar import ConsoleBar
from trainer.training.job import Progress as Step


class TrainingProgress(ConsoleBar):
    """Context manager; `show` takes what rank 0 has told."""

    def __init__(self, *, title: str, shown: bool) -> None:
        text = "steps, loss {task.fields[loss]}, {task.fields[speed]:.0f} crops/s"
        super().__init__(title, text, total=None, shown=shown, loss="-", speed=0.0)
        self._first: tuple[float, int] | None = None
        self._step = 0

    def show(self, latest: Step | None, validations: list[Step]) -> None:
        """The newest step, and the validations since the last call."""
        for step in validations:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in (step.validation or {}).items())
            self.say(f"held out: {figures}")
        if latest is None or latest.step == self._step:
            return
        now, self._step = time.monotonic(), latest.step
        if self._first is None or latest.people < self._first[1]:  # a restart begins from an earlier step
            self._first = (now, latest.people)
        started, before = self._first
        speed = (latest.people - before) / max(now - started, 1e-9)
        loss = "-" if latest.loss is None else f"{latest.loss:.4f}"
        line = f"step {latest.step}/{latest.steps}, loss {loss}, {speed:.0f} crops/s"
        self.update(line, completed=latest.step, total=latest.steps, loss=loss, speed=speed)
