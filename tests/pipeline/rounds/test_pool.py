"""The actor pool: every task ends once, whatever happens to the actors."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.rounds.pool import ActorPool, ActorStartError, Done, GivenUp

pytestmark = pytest.mark.usefixtures("local_ray")


class StorageGoneError(RuntimeError):
    pass


class Worker:
    """Squares numbers; 7 kills it each time, 5 kills it the first time, 3 raises, -1 finds the disk full."""

    def __init__(self, memory: Path) -> None:
        self.memory = memory

    def ready(self) -> None:
        if (self.memory / "refuse").exists():
            raise RuntimeError("no body model")

    def process(self, number: int) -> int:
        died_before = self.memory / f"died_{number}"
        if number == 7 or (number == 5 and not died_before.exists()):
            died_before.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 3:
            raise ValueError("three is refused")
        if number == -1:
            raise StorageGoneError("disk full")
        return number**2


def pool(memory: Path, fatal: tuple[type[Exception], ...] = ()) -> ActorPool[int, int]:
    def start() -> Any:
        return ray.remote(num_cpus=1)(Worker).remote(memory)

    return ActorPool(start, size=2, attempts=2, fatal=fatal)


def test_every_task_ends_once_and_only_poisonous_ones_are_given_up(tmp_path: Path) -> None:
    outcomes = list(pool(tmp_path).run(range(9)))
    done = {outcome.task: outcome.answer for outcome in outcomes if isinstance(outcome, Done)}
    given_up = {outcome.task: outcome for outcome in outcomes if isinstance(outcome, GivenUp)}
    assert done == {n: n**2 for n in range(9) if n not in (3, 7)}
    assert given_up.keys() == {3, 7}
    assert len(outcomes) == 9
    assert given_up[3].reason == "ValueError: three is refused"
    assert "died" in given_up[7].reason
    assert {outcome.attempts for outcome in given_up.values()} == {2}


def test_an_error_that_concerns_every_task_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(StorageGoneError, match="disk full"):
        list(pool(tmp_path, fatal=(StorageGoneError,)).run([1, -1, 2]))


def test_actors_that_cannot_start_end_the_run_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(ActorStartError, match="no body model"):
        list(pool(tmp_path).run([1]))
