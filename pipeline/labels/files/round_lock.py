"""One process at a time works on a round: a lock file, whose holder shows that it lives by writing it again and again.

The lock saves work and keeps two drivers from writing the same files; who publishes is decided by the catalog alone.
No clock is compared: a holder counts as dead when its file has not changed while somebody watched for LAPSE_S.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt

from pipeline.labels.files.errors import RoundBusyError
from pipeline.labels.files.layout import lock_file
from pipeline.storage.storage import Storage

logger = logging.getLogger(__name__)

BEAT_S: Final = 5.0
LAPSE_S: Final = 30.0
_POLL_S: Final = 1.0
_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """What the lock file says. machine: host and process-number space, so that `pid` means something."""

    token: str
    what: str
    machine: str
    pid: int
    born: str  # of the process, by the kernel's count: the number alone may be given again
    started: str
    beats: int = 0

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.machine.split()[0]}, since {self.started})"

    @property
    def is_dead(self) -> bool:
        """For sure: known only on the same machine."""
        return self.machine == _machine() and bool(self.born) and _born(self.pid) != self.born


class RoundLock:
    """`with RoundLock(storage, round, "refine_round")`: raises RoundBusyError if another process holds it and lives."""

    def __init__(self, storage: Storage, round: int, what: str, *, lapse_s: float = LAPSE_S) -> None:
        self._storage = storage
        self._round = round
        self._file = lock_file(round)
        self._lapse_s = lapse_s
        self._mine = _Holder(
            token=uuid.uuid4().hex,
            what=what,
            machine=_machine(),
            pid=os.getpid(),
            born=_born(os.getpid()),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._released = threading.Event()
        self._beating = threading.Thread(target=self._beat, name=f"lock of round {round}", daemon=True)

    def __enter__(self) -> Self:
        try:
            Retrying(retry=retry_if_exception_type(FileExistsError), stop=stop_after_attempt(_ATTEMPTS))(self._take)
        except RetryError as error:
            raise RoundBusyError(
                f"Round {self._round} is wanted by too many processes at once. Start it again."
            ) from error
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        self._beating.join()
        try:
            if self._is_mine():
                self._storage.delete(self._file)
        except OSError as failure:  # must not hide the error that ended the round
            logger.warning("cannot remove %s: %s", self._storage.url(self._file), failure)

    def _take(self) -> None:
        """Raises FileExistsError when another process held the lock, and is dead now."""
        try:
            self._storage.create(self._file, _encoded(self._mine))
        except FileExistsError:
            if self._is_mine():  # S3 has done it, but its answer was lost and the request repeated
                return
            self._wait_for_death()
            raise

    def check(self) -> None:
        """Raises RoundBusyError if another process has taken the lock, because this one seemed dead to it."""
        if not self._is_mine():
            raise RoundBusyError(
                f"Another process has taken over round {self._round} while this one stood still: {self._holder()}. "
                "Nothing was published by this one."
            )

    def _is_mine(self) -> bool:
        holder = self._holder()
        return holder is not None and holder.token == self._mine.token

    def _wait_for_death(self) -> None:
        """Return once the holder is gone or dead, its file removed. Raises RoundBusyError when it lives."""
        first: _Holder | None = None
        deadline = 0.0
        while (holder := self._holder()) is not None:
            if first is None or holder.token != first.token:
                first, deadline = holder, time.monotonic() + self._lapse_s
                if holder.machine != _machine():
                    logger.warning("round %d is locked by %s; waiting for a sign of life", self._round, holder)
            if holder.is_dead or time.monotonic() > deadline:
                logger.warning("round %d: %s is dead, its lock is removed", self._round, holder)
                self._storage.delete(self._file)
                return
            if holder.beats != first.beats or holder.machine == _machine():
                raise RoundBusyError(
                    f"Round {self._round} is being worked on by {holder}. This process changes nothing: wait for the "
                    f"other one, or end it and start again. ({self._storage.url(self._file)})"
                )
            time.sleep(min(_POLL_S, self._lapse_s / 10))

    def _holder(self) -> _Holder | None:
        try:
            return _Holder(**json.loads(self._storage.read(self._file)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return _Holder(token="", what="an unreadable lock", machine="unknown", pid=0, born="", started="unknown")

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            try:
                if not self._is_mine():
                    return
                self._mine = replace(self._mine, beats=self._mine.beats + 1)
                self._storage.write(self._file, _encoded(self._mine))
            except OSError as error:  # the disk is full, or S3 does not answer: the next beat may get through
                logger.warning("cannot write %s: %s", self._storage.url(self._file), error)


def _encoded(holder: _Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _machine() -> str:
    """Host, boot and process-number space: containers may share a host name, and count processes from 1 each."""
    try:
        space = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        space = boot = str(uuid.getnode())
    return f"{socket.gethostname()} {boot} {space}"


def _born(pid: int) -> str:
    """Start of a process in ticks since boot, empty when it has ended, is none, or there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if stat[0] in "ZX" else stat[19]  # a zombie is dead: in a container nobody may ever collect it
