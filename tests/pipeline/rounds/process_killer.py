"""Kills the Ray actor that is reading a file: a real death at a chosen place, without a hook in the code under test."""

import os
import signal
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class ReaderKiller:
    """While the block runs, kill -9 every Ray worker found with `path` open, at most `kills` of them."""

    def __init__(self, path: str, kills: int = 1_000) -> None:
        self.killed = 0
        self._path, self._kills = os.path.realpath(path), kills
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        dead: set[int] = set()
        while not self._stop.is_set() and self.killed < self._kills:
            for pid in readers(self._path) - dead:
                os.kill(pid, signal.SIGKILL)
                dead.add(pid)
                self.killed += 1
            time.sleep(0.002)


def readers(path: str) -> set[int]:
    """Ray workers that have the file open."""
    return {int(process.name) for process in Path("/proc").glob("[0-9]*") if _reads(process, path)}


def _reads(process: Path, path: str) -> bool:
    try:
        is_worker = (process / "comm").read_text().startswith("ray::")
        return is_worker and any(os.readlink(link) == path for link in (process / "fd").iterdir())
    except OSError:  # the process or the descriptor is gone by now
        return False
