"""Ways to die: each kind of fault is inflicted on a running driver or its actor, and counts how often it struck."""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.labels import PublishStep
from tests.faults.actors import Actors, kill
from tests.faults.driver import Driver, Halt
from tests.faults.small_round import PATIENCE, SHARDS, SmallRound


@dataclass(frozen=True, kw_only=True)
class Death(ABC):
    """A fault of one start of a driver. `kind`: the line of the tally; `halt`: where the driver kills itself."""

    kind: str
    halt: Halt | None = None

    @abstractmethod
    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        """Strike; returns once it has or the driver has ended, with the number of kills."""


@dataclass(frozen=True, kw_only=True)
class DriverInPublication(Death):
    """The driver dies at a named place between the last staged shard and the end of the commit."""

    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        return int(driver.wait(PATIENCE) == -9)


@dataclass(frozen=True, kw_only=True)
class DriverAnyTime(Death):
    """The driver dies so many seconds after its start, whatever it is doing."""

    seconds: float
    kind: str = "driver killed at any time"

    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        deadline = time.monotonic() + self.seconds
        while driver.running and time.monotonic() < deadline:
            time.sleep(0.01)
        return int(driver.kill())


@dataclass(frozen=True, kw_only=True)
class DriverStaging(Death):
    """The driver dies when so many shards are finished."""

    shards: int
    kind: str = "driver killed between shards"

    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        small.wait_staged(round, self.shards, driver)
        return int(driver.kill())


@dataclass(frozen=True, kw_only=True)
class ActorReading(Death):
    """The actor that has a certain tar open dies, `kills` times."""

    shard: int
    kills: int
    kind: str = "actor killed reading a shard"

    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        tar = f"{small.inputs}/{self.shard:06d}.tar"
        dead: set[int] = set()
        while driver.running and len(dead) < self.kills:
            dead |= {pid for pid in actors.reading(tar) if pid not in dead and kill(pid)}  # the dying linger
            time.sleep(0.002)
        return len(dead)


@dataclass(frozen=True, kw_only=True)
class ActorWriting(Death):
    """The actor dies while a shard is half staged: a temporary file, or labels whose sidecar is not there yet."""

    after: int
    kind: str = "actor killed writing a shard"

    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        while driver.running and not actors.alive():
            time.sleep(0.02)
        while driver.running:
            names = small.run_files(round)
            half = [name for name in names if name.endswith(".tmp")]
            half += [name for name in names if name.endswith(".parquet") and name[:-7] + "json" not in names]
            if half and len(names) >= 2 * self.after and actors.kill():
                return 1
            time.sleep(0.001)
        return 0


@dataclass(frozen=True, kw_only=True)
class ActorAnyTime(Death):
    """An actor dies so many seconds after the first of the run came to be, perhaps while it loads its models."""

    seconds: float
    kind: str = "actor killed at any time"

    def inflict(self, small: SmallRound, round: int, driver: Driver, actors: Actors) -> int:
        while driver.running and not actors.alive():
            time.sleep(0.02)
        deadline = time.monotonic() + self.seconds
        while driver.running and time.monotonic() < deadline:
            time.sleep(0.01)
        return int(actors.kill())


def kinds(round: int) -> Sequence[Callable[[random.Random, float], Death]]:
    """One maker per kind of death of round `round`; `seconds` is what an uninterrupted round takes."""

    def staging(rng: random.Random, seconds: float) -> Death:
        return DriverStaging(shards=rng.randint(1, SHARDS))

    def any_time(rng: random.Random, seconds: float) -> Death:
        return DriverAnyTime(seconds=rng.uniform(0, 1.1 * seconds))

    def reading(rng: random.Random, seconds: float) -> Death:
        return ActorReading(shard=rng.randrange(SHARDS), kills=rng.randint(1, 2))

    def writing(rng: random.Random, seconds: float) -> Death:
        return ActorWriting(after=rng.randrange(SHARDS - 1))

    def actor_any_time(rng: random.Random, seconds: float) -> Death:
        return ActorAnyTime(seconds=rng.uniform(0, 0.6 * seconds))

    return [staging, reading, any_time, writing, *_in_publication(round), actor_any_time]


def _in_publication(round: int) -> Iterator[Callable[[random.Random, float], Death]]:
    commits = (1, 2, 3) if round == 0 else (1, 2)  # round 0 also creates the table
    halts = [Halt(audit=True), *(Halt(step=step) for step in PublishStep), *(Halt(commit=n) for n in commits)]
    for halt in halts:
        yield lambda rng, seconds, halt=halt: DriverInPublication(kind=str(halt), halt=halt)
