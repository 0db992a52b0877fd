"""Memory a piece of work needs at its peak, beyond what was resident before."""

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth_bytes(work: Callable[[], object]) -> int | None:
    """Growth of the resident set at its highest during `work`; None where Linux's /proc does not tell."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else freed memory that is still resident is used again, unseen
        _RESET.write_text("5")  # forget the highest value so far
        before = _status_bytes("VmRSS")
        result = work()
        after = _status_bytes("VmHWM")
    except OSError:
        return None
    del result
    return after - before


def reset_peak() -> None:
    """Forget the highest resident set so far, where Linux's /proc can."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5")


def peak_bytes() -> int | None:
    """The resident set of this process at its highest since `reset_peak`; None where /proc does not tell."""
    try:
        return _status_bytes("VmHWM")
    except OSError:
        return None


def _status_bytes(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
