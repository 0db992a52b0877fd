"""The training run on Ray Train: workers are placed, lost ones replaced, and progress is brought to the driver."""

import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from trainer.training.job import Outcome, Place, Progress, TrainingJob
from trainer.training.progress import TrainingProgress
from trainer.training.worker import TrainingWorker
from trainer.training.worker_range import WorkerRange

_POLL = 1.0  # s between looks at the progress


class TrainingFailedError(RuntimeError):
    """Workers kept failing; the message says how, and that saved states are continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlacement:
    """How many workers, on which device, and the CPUs of each (its torch threads). resize_seconds: between looks at the
    cluster for room for more, where their number may change.
    """

    workers: WorkerRange
    device: str
    cpus_per_worker: int
    resize_seconds: float = 60.0


class Board:
    """A Ray actor between rank 0 and the driver: the newest progress, validations not yet shown, and the outcome."""

    def __init__(self) -> None:
        self._latest: Progress | None = None
        self._rows: list[Progress] = []
        self._outcome: Outcome | None = None

    def tell(self, progress: Progress) -> None:
        self._latest = progress
        if progress.validation is not None:
            self._rows.append(progress)

    def news(self) -> tuple[Progress | None, list[Progress]]:
        rows, self._rows = self._rows, []
        return self._latest, rows

    def finish(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def outcome(self) -> Outcome | None:
        return self._outcome


def place_workers(workers: WorkerRange, device: str) -> TrainingPlacement:
    """One worker per GPU, or one on all CPUs, unless `workers` says how many. Of the CPUs each gets what leaves room
    for the most. Call it within a Ray session.
    """
    resources = ray.cluster_resources()
    if not workers.most:
        count = max(1, int(resources.get("GPU", 1))) if device == "cuda" else 1
        workers = WorkerRange(count, count)
    if device == "cuda":
        return TrainingPlacement(workers=workers, device=device, cpus_per_worker=1)
    largest_node = max((node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]), default=1)
    cpus = max(1, min(int(resources.get("CPU", 1)) // workers.most, int(largest_node)))
    return TrainingPlacement(workers=workers, device=device, cpus_per_worker=cpus)


def train_on_ray(job: TrainingJob, placement: TrainingPlacement, attempts: int, *, shown: bool) -> Outcome:
    """Run the job's workers to the end of the schedule; workers that die are replaced and continue the saved state, and
    so does a group that Ray Train resizes.

    Call it within a Ray session. Raises TrainingFailedError.
    """
    board: Any = ray.remote(num_cpus=0)(Board).remote()  # Any: Ray's types cannot name an actor's methods
    cuda = placement.device == "cuda"
    resources = {"CPU": placement.cpus_per_worker} | ({"GPU": 1} if cuda else {})
    with tempfile.TemporaryDirectory(prefix="skel-train-") as scratch:  # Ray's own bookkeeping; ours is in the storage
        # Ray names two classes for each of these, one for its old API, which knows less.
        room: dict[str, Any] = {"num_workers": placement.workers.most}
        if placement.workers.elastic:
            interval = placement.resize_seconds
            room = {"num_workers": tuple(placement.workers), "elastic_resize_monitor_interval_s": interval}
        scaling: Any = ScalingConfig(**room, use_gpu=cuda, resources_per_worker=resources)
        failures: Any = FailureConfig(max_failures=attempts)
        run: Any = RunConfig(name=job.training_id, storage_path=scratch, failure_config=failures)
        trainer = TorchTrainer(
            _worker_main,
            train_loop_config={"job": job, "board": board, "threads": placement.cpus_per_worker},
            scaling_config=scaling,
            run_config=run,
            torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
        )
        with TrainingProgress(title=_title(job), shown=shown) as bar:
            _fit(trainer, board, bar)
    outcome = ray.get(board.outcome.remote())
    if outcome is None:
        raise TrainingFailedError("The workers ended without an outcome. Start it again: the saved state is continued.")
    return outcome


def _title(job: TrainingJob) -> str:
    data = job.config.data
    return f"train on round {job.round}" + (f" without fold {data.fold} of {data.folds}" if data.folds > 1 else "")


def _fit(trainer: Any, board: Any, bar: TrainingProgress) -> None:
    """Ray Train in a thread, while the board's news are shown here."""
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # handed to the main thread
            failure.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL)
        bar.show(*ray.get(board.news.remote()))
    bar.show(*ray.get(board.news.remote()))
    if failure:
        raise TrainingFailedError(
            f"Training failed: {_last_line(failure[0])}\nStart it again: the last saved state is continued."
        ) from failure[0]


def _worker_main(told: dict[str, Any]) -> None:
    """What every Ray Train worker runs: placement only, the work is `TrainingWorker`."""
    from ray import train

    context, job, board = train.get_context(), told["job"], told["board"]
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(told["threads"])
    device = train.torch.get_device() if torch.cuda.is_available() else torch.device("cpu")

    def report(progress: Progress) -> None:
        board.tell.remote(progress)

    def about_to_stop() -> bool:  # asks all workers, who agree
        return train.get_preemption_info() is not None

    outcome = TrainingWorker(job, Place(rank=rank, world=world, device=device), report, about_to_stop).run()
    if rank == 0:
        ray.get(board.finish.remote(outcome))


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
