"""Drivers of rounds in processes of their own, forked from one that has everything imported, so that each is cheap."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from jobs import refine_round
from pipeline.labels import LabelStore, PublishStep
from pipeline.labels.publishing import publish as publishing

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.driver", "pipeline.rounds.driver", "pipeline.rounds.summary"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A place in the publication: before the audit, after a step, or in the n-th commit, its metadata written but the
    catalog still pointing to the old one. There the driver dies, or (`pause`) stops until it is sent SIGCONT.
    """

    audit: bool = False
    step: PublishStep | None = None
    commit: int | None = None
    pause: bool = False

    def __str__(self) -> str:
        place = (
            "before the audit" if self.audit else f"in commit {self.commit}" if self.commit else f"after {self.step}"
        )
        return f"{'driver stopped' if self.pause else 'driver killed'} {place}"


class Driver:
    """`jobs/refine_round.py` with these arguments, as a process that may be killed; its output goes to `log`.

    It works in the log's folder.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str], halt: Halt | None = None
    ) -> None:
        self.log = log
        self._process: Any = _CONTEXT.Process(target=_drive, args=(list(arguments), str(log), dict(environment), halt))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> bool:
        """SIGKILL; False if it had ended by then."""
        self._process.kill()
        return self.wait(60) == -signal.SIGKILL

    def wait(self, seconds: float) -> int:
        """The exit code, -9 if killed. Raises TimeoutError, with its last words, if it still runs (and kills it)."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"the driver still runs after {seconds} s: {self.said[-2000:]}")
        return self._process.exitcode

    def wait_stopped(self, seconds: float) -> None:
        """Return when the driver has stopped at its halt. Raises TimeoutError if it does not, or ends instead."""
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                    return
            time.sleep(0.05)
        raise TimeoutError(f"the driver did not stop: {self.said[-2000:]}")

    def resume(self) -> None:
        """Let a stopped driver go on."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def _drive(arguments: list[str], log: str, environment: dict[str, str], halt: Halt | None) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(Path(log).parent)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)
    if halt is not None:
        _arm(halt)
    code = refine_round.main(arguments)
    sys.stdout.flush()
    os._exit(code)


def _arm(halt: Halt) -> None:
    number = signal.SIGSTOP if halt.pause else signal.SIGKILL

    def now() -> None:
        os.kill(os.getpid(), number)

    if halt.step is not None:
        publish = LabelStore.publish

        def publish_until(*arguments: Any, **options: Any) -> Any:
            return publish(*arguments, on_step=lambda step: now() if step is halt.step else None, **options)

        LabelStore.publish = publish_until
    if halt.audit:
        audit = publishing.audit_generation

        def halt_and_audit(*arguments: Any, **options: Any) -> Any:
            now()
            return audit(*arguments, **options)

        publishing.audit_generation = halt_and_audit
    if halt.commit is not None:
        write = SqlCatalog._write_metadata
        seen = 0

        def write_and_halt(*arguments: Any, **options: Any) -> None:
            nonlocal seen
            write(*arguments, **options)
            seen += 1
            if seen == halt.commit:
                now()

        SqlCatalog._write_metadata = staticmethod(write_and_halt)
