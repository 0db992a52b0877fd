"""Progress of a round on stderr: a bar with people/s on a terminal, a line now and then in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_INTERVAL = 10.0  # s between lines where there is no terminal, such as in the log of a Ray job


class RoundProgress:
    """Context manager; `advance(people)` after each shard. Shards found finished count as done, not as speed."""

    def __init__(self, *, title: str, shards: int, finished: int, shown: bool) -> None:
        self._console = Console(file=sys.stderr, quiet=not shown)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("shards, {task.fields[people]} people, {task.fields[speed]:.1f} people/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task(title, total=shards, completed=finished, people=0, speed=0.0)
        self._title, self._shards, self._done, self._people = title, shards, finished, 0
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> "RoundProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, people: int) -> None:
        """One more shard is finished, with so many people read from it."""
        self._done, self._people = self._done + 1, self._people + people
        now = time.monotonic()
        speed = self._people / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=self._done, people=self._people, speed=speed)
        due = now - self._logged >= LOG_INTERVAL or self._done == self._shards
        if due and not self._console.is_terminal:
            self._logged = now
            self._console.print(
                f"{self._title}: {self._done}/{self._shards} shards, {self._people} people, {speed:.1f} people/s",
                highlight=False,
            )
