"""Progress of an evaluation: people scored, by whom, and people/s."""

import time

from pipeline.runtime.progress_bar import ConsoleBar
from trainer.evaluation.actor import EvaluationTask


class EvaluationProgress(ConsoleBar):
    """Context manager; people count once for each checkpoint."""

    def __init__(self, *, people: int, shown: bool) -> None:
        text = "people, {task.fields[speed]:.1f} people/s, {task.fields[who]}"
        super().__init__("evaluate", text, total=people, shown=shown, speed=0.0, who="")
        self._people, self._done, self._started = people, 0, time.monotonic()

    def advance(self, task: EvaluationTask, people: int) -> None:
        """So many people of a task are done."""
        self._done += people
        speed = self._done / max(time.monotonic() - self._started, 1e-9)
        who = f"{task.part.dataset} by {task.checkpoint}"
        line = f"{self._done}/{self._people} people, {speed:.1f} people/s, {who}"
        self.update(line, last=self._done == self._people, completed=self._done, speed=speed, who=who)
