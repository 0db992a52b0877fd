"""The driver of a training run: choose generation and initial weights, let Ray Train do the work, keep the record."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import ray

from pipeline.labels import Generation, LabelStore, Storage, check_genders
from pipeline.rounds.driver import open_store
from pipeline.runtime.config import ConfigError, to_yaml
from pipeline.runtime.ray_cluster import ray_session, resolve_device, shipped_packages
from trainer.checkpoint import checkpoint_digest
from trainer.data import index_generation
from trainer.inference.predictor import CheckpointSource
from trainer.training.checkpoint_choice import absolute, best_source
from trainer.training.job import Outcome, TrainingJob
from trainer.training.ray_stage import place_workers, train_on_ray
from trainer.training.record import TrainingRecord, best_record, read_record, write_record
from trainer.training.train_config import TrainConfig, config_digest, derive_training_id
from trainer.training.trained_body import body_digest
from trainer.training.training_report import report_training


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A finished training run. `already_trained`: an earlier call had finished this very run."""

    record: TrainingRecord
    already_trained: bool


def run_training(
    round: int, config: TrainConfig, *, ray_address: str | None = None, code_revision: str = "unknown"
) -> TrainingResult:
    """Train on generation `round`; killed at any moment, it is simply called again and goes on where it was.

    Raises ConfigError, LabelStoreError (no such generation, or one of another body), CheckpointError,
    BodyFileError, TrainingFailedError.
    """
    started = _now()
    if config.prior.weight and not config.prior.mocap:
        raise ConfigError(
            f"prior.weight={config.prior.weight:g}: the adversarial prior needs motions to learn from. Name npz files, "
            "prior.mocap=[a.npz,b.npz], or set prior.weight=0."
        )
    store = open_store(config.storage)
    plan = _plan(round, config, store)
    known = read_record(store.storage, round, plan.training_id)
    if known is not None and known.status == "finished":
        return TrainingResult(record=known, already_trained=True)
    job = _job(plan, config, store, code_revision)
    record = _new_record(job, plan.init, known.started if known is not None else started)
    with ray_session(ray_address, 0, shipped_packages(job)):
        device = resolve_device(config.run.device, "run.device", ray_address)
        placement = place_workers(config.run.worker_range(), device)
        job_id = ray.get_runtime_context().get_job_id()
        asked = placement.workers
        record = replace(record, workers=asked.fewest, workers_asked=str(asked), ray_job_id=job_id)
        write_record(store.storage, record)
        outcome = train_on_ray(job, placement, config.run.attempts, shown=config.run.progress)
    record = _finished(record, outcome, store.storage)
    write_record(store.storage, record)
    if config.run.report:
        report_training(store.storage, record)
    return TrainingResult(record=record, already_trained=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is trained on what, and from which weights; all of it decides the training id."""

    round: int
    training_id: str
    snapshot_id: int
    body_digest: str
    init: CheckpointSource | None


def _plan(round: int, config: TrainConfig, store: LabelStore) -> _Plan:
    generation = store.generation(round)
    if config.network.head == "skel":
        check_genders(store.lineage(round), config.body.gender)
    init = _initial_checkpoint(config, store, generation)
    body = body_digest(config.network.head, config.body)
    started_from = (None if init is None else init.digest, _backbone_digest(config, init))
    digests = [digest for digest in started_from if digest is not None]
    training_id = derive_training_id(
        round=round,
        snapshot_id=generation.snapshot_id,
        body_digest=body,
        config_digest=config_digest(config),
        init_digest=hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests else None,
    )
    return _Plan(
        round=round,
        training_id=training_id,
        snapshot_id=generation.snapshot_id,
        body_digest=body,
        init=init,
    )


def _job(plan: _Plan, config: TrainConfig, store: LabelStore, code_revision: str) -> TrainingJob:
    """Reads who is in the generation: a file per shard, so only for a run that is really trained."""
    return TrainingJob(
        config=config,
        storage=store.storage,
        index=index_generation(store, plan.round, config.data),
        round=plan.round,
        training_id=plan.training_id,
        snapshot_id=plan.snapshot_id,
        body_digest=plan.body_digest,
        code_revision=code_revision,
        init_uri=None if plan.init is None else plan.init.uri,
    )


def _initial_checkpoint(config: TrainConfig, store: LabelStore, generation: Generation) -> CheckpointSource | None:
    """`auto`: the best network trained on the parent generation, if one of the same variant and head is on record.

    Of a fold, the same fold's alone: every other one has seen the people whom this one must not know.
    """
    choice = config.network.init
    if choice == "none":
        return None
    if choice != "auto":
        return CheckpointSource(absolute(choice), checkpoint_digest(choice))  # workers have folders of their own
    if generation.parent_snapshot_id is None:
        return None
    fold, folds = config.data.fold, config.data.folds
    head, parent = config.network.head, (generation.round - 1, generation.parent_snapshot_id)
    record = best_record(store.storage, *parent, fold, folds, head=head)
    return best_source(store.storage, record) if record and record.variant == config.network.variant else None


def _backbone_digest(config: TrainConfig, init: CheckpointSource | None) -> str | None:
    return None if init is not None or config.network.backbone is None else checkpoint_digest(config.network.backbone)


def _new_record(job: TrainingJob, init: CheckpointSource | None, started: str) -> TrainingRecord:
    return TrainingRecord(
        round=job.round,
        training_id=job.training_id,
        snapshot_id=job.snapshot_id,
        status="running",
        variant=job.config.network.variant,
        config=to_yaml(job.config),
        config_digest=config_digest(job.config),
        body_digest=job.body_digest,
        code_revision=job.code_revision,
        init_uri=None if init is None else init.uri,
        init_digest=None if init is None else init.digest,
        started=started,
        fold=job.config.data.fold,
        folds=job.config.data.folds,
        head=job.config.network.head,
    )


def _finished(record: TrainingRecord, outcome: Outcome, storage: Storage) -> TrainingRecord:
    return replace(
        record,
        status="finished",
        finished=_now(),
        stopped_because=outcome.stopped_because,
        steps=outcome.steps,
        epochs=outcome.epochs,
        best_checkpoint=outcome.best_checkpoint,
        best_digest=checkpoint_digest(storage.url(outcome.best_checkpoint)),
        best=outcome.best,
        history=tuple(outcome.history),
        data_counts=outcome.data_counts,
        workers=outcome.worker_groups[-1][1],
        worker_groups=outcome.worker_groups,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
