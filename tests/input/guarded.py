"""Reads a hostile file under guard: nothing is run, no file appears, and neither time nor memory runs away."""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks.memory import peak_bytes, reset_peak
from tests.input.watch import WATCH

MAX_CPU_SECONDS = 3.0
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run of cases came to."""

    cases: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    growth_bytes: int = 0

    def took(self) -> str:
        return f"slowest {self.slowest_seconds:.2f} s of CPU, resident set grew by {self.growth_bytes / 1e6:.0f} MB"


class Guard:
    """A file, alone in its folder, and an empty folder that it is read from."""

    def __init__(self, path: Path, workdir: Path, max_growth_bytes: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True)
        self._workdir, self._max_growth_bytes = workdir, max_growth_bytes
        workdir.mkdir()

    def read(self, data: bytes, read: Callable[[], T], name: str, level: str, tally: Tally) -> T:
        """What `read` makes of the data in the file. Raises AssertionError naming the case."""
        self.path.write_bytes(data)
        os.chdir(self._workdir)
        reset_peak()
        before, start = peak_bytes() or 0, time.thread_time()
        WATCH.start(str(self.path))
        try:
            found = read()
        finally:
            events = WATCH.stop()
        took, growth = time.thread_time() - start, (peak_bytes() or 0) - before
        assert not events, f"{name}: {events}"
        assert os.listdir(self._workdir) == [], f"{name}: files appeared"
        assert os.listdir(self.path.parent) == [self.path.name], f"{name}: files appeared"
        assert took < MAX_CPU_SECONDS, f"{name}: {took:.1f} s"
        assert growth < self._max_growth_bytes, f"{name}: {growth / 1e6:.0f} MB"
        tally.cases[level] += 1
        tally.slowest_seconds = max(tally.slowest_seconds, took)
        tally.growth_bytes = max(tally.growth_bytes, growth)
        return found


class SeededFuzzer(Protocol):
    def run(self, seed: int) -> None: ...

    def lines(self) -> list[str]: ...


def run_seeds(fuzzer: SeededFuzzer, seeds: Iterable[int]) -> None:
    """Run the cases and print what they came to."""
    for seed in seeds:
        fuzzer.run(seed)
    print("\n" + "\n".join(fuzzer.lines()))


def repeat(make: Callable[[Path], SeededFuzzer]) -> int:
    """Repeat the cases of the given seeds, in a new folder, and print what comes out."""
    with tempfile.TemporaryDirectory() as folder:
        run_seeds(make(Path(folder)), map(int, sys.argv[1:]))
    return 0
