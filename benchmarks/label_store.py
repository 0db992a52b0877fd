"""`store`, `store-s3`: time and memory of a driver that plans, audits, publishes and reads many label files."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.made.made_labels import DATASET, key_of, lineage, shard_name, stage_round
from benchmarks.memory import peak_bytes, reset_peak
from benchmarks.report import Options, say
from pipeline.labels import LabelStore, PublishStep, StagedShard, read_labels
from pipeline.rounds.driver import find_staged
from pipeline.rounds.plan import RoundPlan, plan_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config

_SHARDS_READ = 50
_FIGURES = """SELECT decision, count(*), avg(kp2d_error), max(kp2d_error), avg(pve_mean_mm), max(pve_max_mm),
    avg(iterations) FROM labels WHERE round = 1 GROUP BY decision"""
_VECTORS = "SELECT avg(q[4]), avg(q_std[4]) FROM labels WHERE round = 1 AND has_label"

Result = TypeVar("Result")


def run(options: Options) -> None:
    """Two generations on the local disk."""
    with tempfile.TemporaryDirectory() as folder:
        _measure(LabelStore(f"{folder}/labels"), Path(folder) / DATASET, options)
    say("A large store: --files 4500 --rows-per-file 2000 (10 GB of disk), --files 30000 --rows-per-file 20.")


def run_s3(options: Options) -> None:
    """The same on a real S3 server, SeaweedFS, which runs on the same cores."""
    from tests.services.s3_server import running_s3_server

    with tempfile.TemporaryDirectory() as folder, running_s3_server(Path(folder) / "s3") as server:
        store = LabelStore(server.url("bench/labels"), f"sqlite:///{folder}/catalog.db")
        _measure(store, Path(folder) / DATASET, options)


class _Steps:
    """The table: what each step took in time and in work of this process, the driver, and its highest resident set."""

    def __init__(self) -> None:
        self._print("step", "target s", "seconds", "CPU s", "driver MB")
        self.begin()

    def begin(self) -> None:
        reset_peak()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def end(self, name: str, target: str = "", repeats: int = 1) -> None:
        """Add what was done `repeats` times since `begin`."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        peak = peak_bytes()
        memory = "" if peak is None else f"{peak / 1e6:.0f}"
        self._print(name, target, f"{wall / repeats:.3f}", f"{cpu / repeats:.3f}", memory)

    def timed(self, name: str, work: Callable[[], Result], target: str = "") -> Result:
        self.begin()
        result = work()
        self.end(name, target)
        return result

    @staticmethod
    def _print(name: str, *figures: str) -> None:
        """At once: with millions of rows a step takes minutes."""
        say(f"{name:39}" + "".join(f"{figure:>11}" for figure in figures))


def _measure(store: LabelStore, shards: Path, options: Options) -> None:
    files, rows = (20, 40) if options.quick else (options.files, options.rows_per_file)
    shards.mkdir(parents=True)
    for number in range(files):
        (shards / f"{shard_name(number)}.tar").touch()
    steps = _Steps()
    staged = [item for k in (0, 1) for item in _round(k, store, shards, files, rows, steps)]
    _read(store, files, steps)
    size = sum(item.file_bytes for item in staged) / 2
    say(f"A round: {files} files of {rows} rows, {files * rows:,} rows, {size / 1e6:,.0f} MB.")
    say("CPU s: this process with its threads, however busy the machine; staging is the work of other processes.")
    say("The driver's memory is its resident set at its highest during the step, libraries included: <= 2000 MB.")


def _round(k: int, store: LabelStore, shards: Path, files: int, rows: int, steps: _Steps) -> list[StagedShard]:
    plan = steps.timed(f"round {k}: plan", lambda: _plan(k, store, shards, files))
    staging = store.staging(k, plan.run_id, plan.config_digest)
    staged = steps.timed(f"round {k}: stage (2 processes)", lambda: stage_round(staging, files, rows))
    found = steps.timed(f"round {k}: verify staged files (restart)", lambda: find_staged(plan, staging))
    if len(found) != files:
        raise RuntimeError(f"{files} shards were staged, {len(found)} were found again")
    _publish(plan, store, staged, steps)
    return staged


def _plan(k: int, store: LabelStore, shards: Path, files: int) -> RoundPlan:
    pattern = f"{shards}/{{{shard_name(0)}..{shard_name(files - 1)}}}.tar"
    config = load_config(RoundConfig, ["fit.device=cpu", f"data.shards={pattern}"])
    return plan_round(k, config, store, body_digest="b" * 64)


def _publish(plan: RoundPlan, store: LabelStore, staged: list[StagedShard], steps: _Steps) -> None:
    """The audit ends where the protocol (docs/decisions/0001-iceberg.md) starts, at the step AUDITED."""
    beside = "no parent" if plan.parent is None else f"beside round {plan.round - 1}"
    lines = {
        PublishStep.AUDITED: (f"round {plan.round}: audit ({beside})", "<= 120"),
        PublishStep.PUBLISHED: (f"round {plan.round}: publish protocol", "<= 20"),
    }

    def on_step(step: PublishStep) -> None:
        if step in lines:
            steps.end(*lines[step])
            steps.begin()

    steps.begin()
    store.publish(lineage(plan), staged, on_step=on_step)


def _read(store: LabelStore, files: int, steps: _Steps) -> None:
    plan = steps.timed("plan a generation for reading", lambda: store.files(1))
    urls = list(plan.values())[:: max(1, files // _SHARDS_READ)]
    for url in urls:
        read_labels(url)  # warm
    steps.begin()
    for url in urls:
        read_labels(url)
    steps.end("one shard's labels, warm", "<= 0.020", repeats=len(urls))
    who = (DATASET, shard_name(files // 2), key_of(0), 0)
    steps.timed("one person through both rounds", lambda: store.history(*who), "<= 1")
    connection = steps.timed("open SQL over both rounds", store.query)
    steps.timed("SQL aggregate of 5 figures", lambda: connection.execute(_FIGURES).fetchall(), "<= 5")
    steps.timed("the same again", lambda: connection.execute(_FIGURES).fetchall(), "<= 5")
    steps.timed("SQL mean over vectors", lambda: connection.execute(_VECTORS).fetchall())
