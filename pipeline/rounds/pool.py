"""A pool of Ray actors that outlives its members: a task that fails or kills its actor is tried again, then given up.

Ray retries a unit that kills its actor for ever, or ends the whole run; so the pool itself counts the
attempts of each task and replaces dead actors, and one poisonous task costs that task only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

Task = TypeVar("Task")
Answer = TypeVar("Answer")


class ActorStartError(RuntimeError):
    """No actor can be started, whatever the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[Task, Answer]):
    """A task and what the actor answered."""

    task: Task
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp(Generic[Task]):
    """A task that failed or killed its actor in every attempt, and how it ended last."""

    task: Task
    attempts: int
    reason: str


class ActorPool(Generic[Task, Answer]):
    """Runs tasks on `size` actors, one at a time on each; every actor has `ready()` and `process(task)`.

    `start` makes an actor and returns its handle (Any: Ray's types cannot name it).
    `fatal` names exceptions raised by `process` that concern every task (storage is gone): they end the run.
    """

    def __init__(
        self, start: Callable[[], Any], size: int, attempts: int, fatal: tuple[type[Exception], ...] = ()
    ) -> None:
        self._start, self._size, self._attempts, self._fatal = start, size, attempts, fatal
        self._starting: dict[ray.ObjectRef[Any], Any] = {}
        self._idle: list[Any] = []
        self._running: dict[ray.ObjectRef[Any], tuple[Any, Task, int]] = {}
        self._failed_starts = 0

    def run(self, tasks: Iterable[Task]) -> Iterator[Done[Task, Answer] | GivenUp[Task]]:
        """Yield one outcome per task, in order of completion. Raises ActorStartError, or what `fatal` names."""
        waiting = deque((task, 1) for task in tasks)
        try:
            for _ in range(min(self._size, len(waiting))):
                self._start_actor()
            while waiting or self._running:
                while self._idle and waiting:
                    self._submit(self._idle.pop(), *waiting.popleft())
                (ref,), _ = ray.wait([*self._starting, *self._running], num_returns=1)
                if ref in self._starting:
                    self._welcome(ref)
                    continue
                actor, task, attempt = self._running.pop(ref)
                failure = None
                try:
                    answer = ray.get(ref)
                except RayError as error:
                    failure = self._after_failure(actor, error)
                else:
                    self._idle.append(actor)
                    yield Done(task=task, answer=answer)
                if failure is not None and attempt < self._attempts:
                    waiting.append((task, attempt + 1))
                elif failure is not None:
                    yield GivenUp(task=task, attempts=attempt, reason=failure)
        finally:
            self._stop()

    def _submit(self, actor: Any, task: Task, attempt: int) -> None:
        self._running[actor.process.remote(task)] = (actor, task, attempt)

    def _start_actor(self) -> None:
        actor = self._start()
        self._starting[actor.ready.remote()] = actor

    def _welcome(self, ref: "ray.ObjectRef[Any]") -> None:
        actor = self._starting.pop(ref)
        try:
            ray.get(ref)
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts > self._attempts:
                raise ActorStartError(f"Actors cannot start; the last one said: {_last_line(error)}") from error
            self._start_actor()
        else:
            self._failed_starts = 0
            self._idle.append(actor)

    def _after_failure(self, actor: Any, error: RayError) -> str:
        """Keep the actor if it lives, else replace it; return the failure in one line."""
        if isinstance(error, RayTaskError):
            if isinstance(error.cause, self._fatal):
                raise error.cause
            self._idle.append(actor)
        else:
            ray.kill(actor)
            self._start_actor()
        return _last_line(error)

    def _stop(self) -> None:
        for actor in [*self._starting.values(), *self._idle, *(actor for actor, _, _ in self._running.values())]:
            ray.kill(actor)
        self._starting.clear()
        self._idle.clear()
        self._running.clear()


def _last_line(error: RayError) -> str:
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if len(lines) < 2 else f"{lines[0]} {lines[-1]}"
