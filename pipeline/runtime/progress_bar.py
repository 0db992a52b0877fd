"""A progress bar on stderr where there is a terminal, else a line now and then, as in the log of a Ray job."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_INTERVAL = 10.0  # s between lines where there is no terminal


class ConsoleBar:
    """Context manager. `text`: what stands behind the counts, a rich format of `task.fields`."""

    def __init__(self, title: str, text: str, *, total: int | None, completed: int = 0, shown: bool, **fields: Any):
        self.title = title
        self._console = Console(file=sys.stderr, quiet=not shown)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(text),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task(title, total=total, completed=completed, **fields)
        self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, line: str, *, last: bool = False, **values: Any) -> None:
        """Move the bar; without a terminal print `title: line`, if the last one is a while ago or this is the last."""
        self._bar.update(self._task, **values)
        now = time.monotonic()
        if not self._console.is_terminal and (last or now - self._logged >= LOG_INTERVAL):
            self._logged = now
            self.say(line)

    def say(self, line: str) -> None:
        """Print `title: line` in any case."""
        self._console.print(f"{self.title}: {line}", highlight=False, soft_wrap=True)
