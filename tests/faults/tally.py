"""What the suite did, as the table it ends with: faults injected, rows checked, time, by kind of fault."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(kw_only=True)
class Count:
    """Of one kind of fault. `runs`: seeds or cases; `rows`: rows read and compared by the invariant checker."""

    runs: int = 0
    injected: int = 0
    rows: int = 0
    seconds: float = 0.0


@dataclass
class Tally:
    """Counts by kind; threads may add at the same time."""

    counts: dict[str, Count] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, *, runs: int = 1, injected: int = 0, rows: int = 0, seconds: float = 0.0) -> None:
        with self._lock:
            count = self.counts.setdefault(kind, Count())
            count.runs += runs
            count.injected += injected
            count.rows += rows
            count.seconds += seconds

    @contextmanager
    def run(self, kind: str) -> Iterator[Count]:
        """One run of a kind, timed; the block fills in what it injected and checked."""
        count, started = Count(), time.monotonic()
        yield count
        self.add(kind, injected=count.injected, rows=count.rows, seconds=time.monotonic() - started)

    def table(self) -> str:
        table = Table(
            box=box.SIMPLE, title="Faults injected, each followed by the invariant checks", title_justify="left"
        )
        table.add_column("fault")
        for name in ("runs", "injected", "rows checked", "seconds"):
            table.add_column(name, justify="right")
        for kind, count in self.counts.items():
            table.add_row(kind, f"{count.runs}", f"{count.injected}", f"{count.rows}", f"{count.seconds:.0f}")
        total = [sum(getattr(count, name) for count in self.counts.values()) for name in ("runs", "injected", "rows")]
        table.add_section()
        table.add_row("all", *map(str, total), f"{sum(count.seconds for count in self.counts.values()):.0f}")
        console = Console(width=110)
        with console.capture() as captured:
            console.print(table)
        return captured.get()
