"""How benchmarks speak: where they ran, aligned tables, and times of repeated work."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Set once on the command line. quick: a few people, to see that a benchmark works; its figures mean nothing."""

    quick: bool = False
    files: int = 500  # label files that `store` publishes a round
    rows_per_file: int = 200
    shared: Path | None = None  # folder with golden/ and data/, where they are
    data: Path | None = None  # folder of footage for `real-truth`
    json: Path | None = None  # where a benchmark that can writes its rows
    pictures: Path | None = None  # where `real-truth` draws labels of one view into the others
    checkpoint: str | None = None  # network whose predictions `real-truth` starts from too
    plot: Path | None = None  # where `calibration` and `truth-loop` draw: a PNG, a folder
    people: int | None = None  # of made sets; each benchmark knows how many by default
    seed: int = 0
    rounds: int | None = None
    predictor: tuple[str, ...] = ()  # KIND or KIND:s, all when none is given
    betas_noise: float = 0.0  # of predictors, standard deviation
    seeds: tuple[int, ...] = (0, 1, 2)  # of `truth-loop`, as all below
    steps: int = 1000  # of each training
    arms: tuple[str, ...] = ()  # all when none is given
    variant: str = "mini"
    train: tuple[str, ...] = ()  # KEY=VALUE, of every training
    work: Path | None = None  # where people, labels and networks are kept


def machine() -> str:
    """One line: processor, cores, threads in use, versions, date, and how busy the machine already was."""
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"python {platform.python_version()}, {datetime.now():%Y-%m-%d %H:%M}, load {load:.1f} at the start"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their columns, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = [
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    print(flush=True)


def say(text: str) -> None:
    """A line of explanation below or above a table."""
    print(f"  {text}", flush=True)


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of `repeats` runs after one that warms up: what the code takes when nothing disturbs it."""
    work()
    return min(seconds(work) for _ in range(repeats))


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one run; waits for the GPU where there is one."""
    _finish_gpu()
    start = time.perf_counter()
    work()
    _finish_gpu()
    return time.perf_counter() - start


def _finish_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def times(baseline: float, ours: float) -> str:
    """How many times faster, `x 12`; two digits are all that is known."""
    ratio = baseline / ours
    return f"x {ratio:.0f}" if ratio >= 10 else f"x {ratio:.1f}"
