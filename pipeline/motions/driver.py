"""Convert motion files with Ray actors; started again, it goes on where it was."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import ray

from pipeline.body import load_skel
from pipeline.fit import SmplToSkelConfig
from pipeline.motions.motion_actor import ConvertConfig, MotionActor, MotionRecord, MotionTask
from pipeline.rounds.pool import ActorPool, GivenUp
from pipeline.runtime.progress_bar import ConsoleBar
from pipeline.runtime.ray_cluster import place, ray_session, shipped_packages
from pipeline.storage.opening import open_storage
from pipeline.storage.storage import Storage

SUMMARY: Final = "conversions.json"
_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The outcome: a record a file, in the order of the tasks, and s that it took."""

    records: tuple[MotionRecord, ...]
    seconds: float

    @property
    def rejected(self) -> list[MotionRecord]:
        """Files of which nothing became."""
        return [record for record in self.records if record.rejected]

    @property
    def frames(self) -> int:
        """Of all motions together."""
        return sum(record.frames for record in self.records)


def convert_motions(
    tasks: Sequence[MotionTask], output: str, config: ConvertConfig, *, actors: int = 0, ray_address: str | None = None
) -> Conversion:
    """Convert every file; those that were, with these settings, are left as they are. A file that cannot be read, or
    kills its actor twice, is recorded as rejected. Raises ValueError for an unusable output folder, BodyFileError.
    """
    storage, started = open_storage(output), time.monotonic()
    load_skel(config.body)  # a body that is missing ends the run here, once, rather than in every actor
    found: dict[str, MotionRecord] = {}
    frames = 0
    with ray_session(ray_address, actors, shipped_packages()):
        pool: ActorPool[MotionTask, MotionRecord] = ActorPool(
            lambda: _start(config, storage), min(place(actors, "cpu").actors, len(tasks)), _ATTEMPTS
        )
        with ConsoleBar("motions", "{task.fields[rate]}", total=len(tasks), shown=True, rate="") as bar:
            for done in pool.run(tasks):
                record = _given_up(done, config) if isinstance(done, GivenUp) else done.answer
                found[done.task.name] = record
                frames += record.frames
                rate = f"{frames} frames, {frames / (time.monotonic() - started):.0f}/s"
                line = f"{len(found)}/{len(tasks)} files, {rate}"
                bar.update(line, last=len(found) == len(tasks), completed=len(found), rate=rate)
    records = tuple(found[task.name] for task in tasks)
    storage.write(SUMMARY, json.dumps([asdict(record) for record in records], indent=1).encode())
    return Conversion(records=records, seconds=time.monotonic() - started)


def _start(config: ConvertConfig, output: Storage) -> Any:
    return ray.remote(num_cpus=1)(MotionActor).remote(config, output, SmplToSkelConfig().poor_fit_mm)


def _given_up(done: "GivenUp[MotionTask]", config: ConvertConfig) -> MotionRecord:
    reason = f"given up after {done.attempts} attempts: {done.reason}"
    return MotionRecord(
        address=done.task.address, name=done.task.name, source="", settings=config.digest, rejected=reason
    )
