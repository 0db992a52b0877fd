"""A publisher in a process of its own, which can be told to die.

python -m tests.pipeline.labels.publisher ROOT --run RUN
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from pipeline.labels import LabelStore, LabelStoreError, PublishStep
from tests.pipeline.labels.label_tables import lineage, stage


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_commit(number: int) -> None:
    """Die in the middle of the n-th commit: its metadata is written, the catalog does not point to it yet."""
    write = SqlCatalog._write_metadata
    seen = 0

    def write_and_die(*arguments: Any, **options: Any) -> None:
        nonlocal seen
        write(*arguments, **options)
        seen += 1
        if seen == number:
            die()

    SqlCatalog._write_metadata = staticmethod(write_and_die)


def meet(folder: Path, step: PublishStep) -> None:
    """Wait until both publishers are about to touch the catalog."""
    if step is PublishStep.LINEAGE_WRITTEN:
        folder.mkdir(exist_ok=True, parents=True)
        (folder / f"{os.getpid()}").touch()
        deadline = time.monotonic() + 30
        while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.002)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+", metavar="ROOT[@@CATALOG]")
    parser.add_argument("--run", required=True)
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--die-at")
    parser.add_argument("--die-in-commit", type=int)
    parser.add_argument("--race", metavar="FOLDER", help="where the two publishers wait for each other")
    options = parser.parse_args()
    if options.die_in_commit:
        die_in_commit(options.die_in_commit)
    for number, address in enumerate(options.addresses):
        root, _, catalog = address.partition("@@")
        store = LabelStore(root, catalog or None)
        parent = store.generation(options.round - 1).snapshot_id if options.round else None
        staged = stage(store, options.round, options.run)

        def on_step(step: PublishStep, number: int = number) -> None:
            if options.die_at == step:
                die()
            if options.race:
                meet(Path(f"{options.race}-{number}"), step)

        try:
            publication = store.publish(
                lineage(options.round, options.run, parent_snapshot_id=parent), staged, on_step=on_step
            )
            print("already published" if publication.already_published else "published")
        except LabelStoreError as error:
            print(type(error).__name__, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
