"""Progress of a round: shards done, people read and people/s."""

import time

from pipeline.runtime.progress_bar import ConsoleBar


class RoundProgress(ConsoleBar):
    """Context manager; `advance(people)` after each shard. Shards found finished count as done, not as speed."""

    def __init__(self, *, title: str, shards: int, finished: int, shown: bool) -> None:
        text = "shards, {task.fields[people]} people, {task.fields[speed]:.1f} people/s"
        super().__init__(title, text, total=shards, completed=finished, shown=shown, people=0, speed=0.0)
        self._shards, self._done, self._people, self._started = shards, finished, 0, time.monotonic()

    def advance(self, people: int) -> None:
        """One more shard is finished, with so many people read from it."""
        self._done, self._people = self._done + 1, self._people + people
        speed = self._people / max(time.monotonic() - self._started, 1e-9)
        line = f"{self._done}/{self._shards} shards, {self._people} people, {speed:.1f} people/s"
        self.update(line, last=self._done == self._shards, completed=self._done, people=self._people, speed=speed)
