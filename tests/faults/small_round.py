"""The small real round that the faults hit: its inputs, its store, and how a driver is told to run it."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.labels import LabelStore
from tests.faults.driver import Driver, Halt
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.repository import ROOT

PEOPLE, SHARDS = 12, 6
# One person a batch: shards have two, and whoever is to die while a tar is open must be fitting before its end is read.
SETTINGS = ("fit.device=cpu", "fit.batch_size=1", "run.progress=false", "run.report=false")
PATIENCE = 600  # s: a round takes 5 to 30 on an idle machine, and ten times that on a crowded one


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallRound:
    """A store on which drivers run. `folder` takes their logs, `inputs` (a folder or s3:// prefix) holds the tars."""

    folder: Path
    inputs: str
    root: str
    environment: Mapping[str, str]
    catalog: str | None = None
    tars: int = SHARDS
    overrides: tuple[str, ...] = ("run.actors=1",)

    @property
    def store(self) -> LabelStore:
        """Opened afresh, as another process would."""
        return LabelStore(self.root, self.catalog)

    def apart(self, name: str) -> "SmallRound":
        """The same round with labels, catalog and logs of its own."""
        folder = self.folder / name
        folder.mkdir()
        catalog = None if self.catalog is None else f"sqlite:///{folder}/catalog.db"
        return replace(self, folder=folder, root=f"{self.root}/{name}", catalog=catalog)

    def driver(self, round: int, halt: Halt | None = None, extra: Sequence[str] = ()) -> Driver:
        """Start the command on round `round`."""
        folder = self._shipped_folder()
        log = folder / f"driver-{len(list(folder.iterdir()))}.log"
        log.touch()
        return Driver(self.arguments(round, extra), log, self.environment, halt)

    def command(self, round: int, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        """The same as a plain command, child of this process: where the environment must be there from the start."""
        command = [sys.executable, str(ROOT / "jobs" / "refine_round.py"), *self.arguments(round)]
        pipe = subprocess.PIPE
        folder = self._shipped_folder()
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def arguments(self, round: int, extra: Sequence[str] = ()) -> list[str]:
        """Those of jobs/refine_round.py."""
        arguments = ["--round", str(round), f"storage.root={self.root}", *SETTINGS, *self.overrides, *extra]
        if self.catalog is not None:
            arguments.append(f"storage.catalog={self.catalog}")
        if round == 0:
            arguments.append(f"data.shards={self.shards}")
        return arguments

    def _shipped_folder(self) -> Path:
        """Looks like what `ray job submit --working-dir` makes, so that drivers ship no packages.

        Ray would unpack them anew for every cluster, and numba compile the fits anew each time (25 s of CPU).
        """
        folder = self.folder / "runtime_resources"
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, round: int, extra: Sequence[str] = ()) -> Driver:
        """Run round `round` to its end, which must be a published generation."""
        driver = self.driver(round, extra=extra)
        code = driver.wait(PATIENCE)
        assert code == 0, f"exit code {code}\n{driver.said}"
        return driver

    @property
    def shards(self) -> str:
        """The pattern of all input tars."""
        return f"{self.inputs}/{{000000..{self.tars - 1:06d}}}.tar"

    def run_files(self, round: int) -> list[str]:
        """Names of whatever lies in the staging folders of a round, temporary files too."""
        return sorted(file.name for file in self.store.storage.walk(f"data/round={round:05d}"))

    def staged(self, round: int) -> list[str]:
        """Names of the sidecars of the finished shards of a round."""
        return [name for name in self.run_files(round) if "/dataset=" in name and name.endswith(".json")]

    def wait_staged(self, round: int, count: int, driver: Driver) -> None:
        """Return when so many shards are finished or the driver has ended."""
        while driver.running and len(self.staged(round)) < count:
            time.sleep(0.02)


def make_inputs(folder: Path, people: int = PEOPLE, shards: int = SHARDS) -> str:
    """Tars of made people in a folder named as their data set."""
    write_shards(folder / "made", make_samples(people), shards)
    return str(folder / "made")


def publish_copy(source: LabelStore, round: int, target: LabelStore) -> None:
    """Publish generation `round` of another store as it is: a parent generation without the work."""
    record = source.lineage(round)
    old, new = (store.staging(round, record.run_id, record.config_digest) for store in (source, target))
    copies = []
    for item in record.inputs:
        found = old.find(item.dataset, item.shard)
        assert found is not None
        table = old.read(found)
        copies.append(new.write(item.dataset, item.shard, table, readable=found.readable, rejections=found.rejections))
    target.publish(record, copies)
