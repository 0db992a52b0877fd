"""An output folder that belongs to one run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.inference.photo_source import InputError


@contextmanager
def own_folder(output: Path, finished: str) -> Iterator[None]:
    """The output folder, ours alone until the run ends; `finished`: the file that a complete run has left there.

    Raises InputError where another run is, or has been.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another run is writing to {output}. Wait for it, or give another --output.") from None
        if (output / finished).exists():
            raise InputError(f"{output} holds the {finished} of a finished run. Give another --output, or delete it.")
        yield
