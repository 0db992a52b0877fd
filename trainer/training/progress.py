"""Progress of a training run on stderr: a bar with crops/s, a line per validation, a line now and then in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trainer.training.job import Progress as Step

LOG_INTERVAL = 10.0  # s between lines where there is no terminal


class TrainingProgress:
    """Context manager; `show` takes what rank 0 has told."""

    def __init__(self, *, title: str, shown: bool) -> None:
        self._console = Console(file=sys.stderr, quiet=not shown)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, loss {task.fields[loss]}, {task.fields[speed]:.0f} crops/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._title, self._task = title, self._bar.add_task(title, total=None, loss="-", speed=0.0)
        self._first: tuple[float, int] | None = None
        self._logged = time.monotonic()

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, latest: Step | None, validations: list[Step]) -> None:
        """The newest step, and the validations since the last call."""
        for step in validations:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in (step.validation or {}).items())
            self._console.print(f"{self._title}: held out: {figures}", highlight=False, soft_wrap=True)
        if latest is None:
            return
        now = time.monotonic()
        if self._first is None or latest.people < self._first[1]:  # a restart begins from an earlier step
            self._first = (now, latest.people)
        started, before = self._first
        speed = (latest.people - before) / max(now - started, 1e-9)
        self._bar.update(self._task, completed=latest.step, total=latest.steps, loss=_loss(latest), speed=speed)
        if not self._console.is_terminal and now - self._logged >= LOG_INTERVAL:
            self._logged = now
            self._console.print(
                f"{self._title}: step {latest.step}/{latest.steps}, loss {_loss(latest)}, {speed:.0f} crops/s",
                highlight=False,
            )


def _loss(step: Step) -> str:
    return "-" if step.loss is None else f"{step.loss:.4f}"
