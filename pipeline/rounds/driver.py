"""The driver of a round: reuse what is staged, let actors do the rest, audit, publish."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from pipeline.body import Skel, load_smpl
from pipeline.body.gendered_skel import load_skels
from pipeline.labelling.predictor import PredictorSource
from pipeline.labels import Generation, LabelStore, Lineage, OtherBodyError, StagedShard, Staging
from pipeline.labels.files.round_lock import RoundLock
from pipeline.rounds.actor import ActorBrief, ShardActor, StagingError
from pipeline.rounds.import_task import check_matched
from pipeline.rounds.parent_labels import parent_labels
from pipeline.rounds.plan import RoundPlan, plan_round
from pipeline.rounds.pool import ActorPool, Done, GivenUp
from pipeline.rounds.progress import RoundProgress
from pipeline.rounds.reporting import report_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import ShardTask, carry_over
from pipeline.runtime.config import BodyConfig, ConfigError, StorageConfig, to_yaml
from pipeline.runtime.ray_cluster import Placement, place, ray_session, resolve_device, shipped_packages
from schemas.gender import Gender
from schemas.input_shard import ShardId
from schemas.person import Rejection, RejectionReason

LOOKUP_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """A published round. `reused` shards were found staged by an earlier attempt, `computed` ones were not."""

    generation: Generation
    run_id: str
    already_published: bool
    reused: int
    computed: int


def run_round(
    round: int,
    config: RoundConfig,
    *,
    predictor: PredictorSource | None = None,
    ray_address: str | None = None,
    code_revision: str = "unknown",
    force_publish: str | None = None,
) -> RoundResult:
    """Compute, audit and publish generation `round`; killed at any moment, it is simply called again.

    predictor: the network whose predictions start the fits, next to the parent labels.

    Raises ConfigError, LabelStoreError (AuditFailedError: nothing was published), StagingError or ActorStartError.
    """
    started = datetime.now(UTC)
    store = open_store(config.storage)
    if ray_address is None:
        plan = resolved_plan(round, config, store, None, predictor)
        return run_plan(plan, store, None, started, code_revision, force_publish)
    with ray_session(ray_address, config.run.actors, shipped_packages(predictor)):
        plan = resolved_plan(round, config, store, ray_address, predictor)
        return run_plan(plan, store, ray_address, started, code_revision, force_publish)


def open_store(storage: StorageConfig) -> LabelStore:
    """The label store of these settings. Raises ConfigError for an unusable root."""
    try:
        return LabelStore(storage.root, storage.catalog)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def resolved_plan(
    round: int, config: RoundConfig, store: LabelStore, ray_address: str | None, predictor: PredictorSource | None
) -> RoundPlan:
    """The plan of a round with the device resolved. Raises as `plan_round`, and BodyFileError."""
    device = resolve_device(config.fit.device, "fit.device", ray_address)
    body = config.body if config.body.source == "open" else replace(config.body, source=_absolute(config.body.source))
    resolved = replace(config, fit=replace(config.fit, device=device), body=body)
    skels = load_skels(body.source, body.gender)  # before any actor would, for the errors that there may be
    plan = plan_round(round, resolved, store, _body_digest(skels, body), predictor)
    return replace(plan, skel_digests={str(gender): skel.digest for gender, skel in skels.items()})


def _body_digest(skels: Mapping[Gender, Skel], body: BodyConfig) -> str:
    """Of the content of all bodies. Raises BodyFileError."""
    digests = (*(skel.digest for skel in skels.values()), load_smpl(body.source).digest)
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _absolute(folder: str) -> str:
    """Actors need not share the driver's working folder."""
    return str(Path(folder).expanduser().absolute())


def run_plan(
    plan: RoundPlan,
    store: LabelStore,
    ray_address: str | None,
    started: datetime,
    code_revision: str,
    force_publish: str | None,
) -> RoundResult:
    """Compute, audit and publish what is planned. Raises as `run_round`, and ConfigError for an import that matches
    nobody.
    """
    if earlier := store.published_by(plan.round, plan.run_id):
        return _found(plan, earlier)
    with _driver_lock(plan, store) as lock:
        if earlier := store.published_by(plan.round, plan.run_id):  # by the process that held the lock
            return _found(plan, earlier)
        staging = store.staging(plan.round, plan.run_id, plan.config_digest)
        staged = find_staged(plan, staging)
        missing = [task for task in plan.tasks if task.id not in staged]
        computed, job_id = _compute_missing(plan, staging, missing, ray_address)
        every = staged | computed
        shards = [every[task.id] for task in plan.tasks]
        if plan.imported is not None:
            check_matched(plan.imported, shards)
        lineage = _round_lineage(plan, started, code_revision, job_id)
        lock.check()
        publication = store.publish(lineage, shards, unreadable_shards(shards), plan.config.audit, force=force_publish)
    if plan.config.run.report and not publication.already_published:
        report_round(plan, store)
    return RoundResult(
        generation=publication.generation,
        run_id=plan.run_id,
        already_published=publication.already_published,
        reused=len(staged),
        computed=len(computed),
    )


def _found(plan: RoundPlan, earlier: Generation) -> RoundResult:
    return RoundResult(generation=earlier, run_id=plan.run_id, already_published=True, reused=0, computed=0)


@contextlib.contextmanager
def _driver_lock(plan: RoundPlan, store: LabelStore) -> Iterator[RoundLock]:
    """The lock of the round. Raises RoundBusyError, or StagingError where nothing can be written."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(RoundLock(store.storage, plan.round, f"a driver of run {plan.run_id}"))
        except OSError as error:
            raise StagingError(f"cannot write to {store.storage.root}: {error}. Check storage.root.") from error
        yield lock


def _compute_missing(
    plan: RoundPlan, staging: Staging, missing: list[ShardTask], ray_address: str | None
) -> tuple[dict[ShardId, StagedShard], str | None]:
    """The missing shards, and the Ray job that computed them."""
    if not missing:
        return {}, None
    with ray_session(ray_address, plan.config.run.actors, shipped_packages(plan.predictor)):
        job_id = ray.get_runtime_context().get_job_id()
        return {item.id: item for item in compute(plan, staging, missing)}, job_id


def find_staged(plan: RoundPlan, staging: Staging) -> dict[ShardId, StagedShard]:
    """The shards that an earlier attempt of this run has finished. What it could not read is tried again."""

    def find(task: ShardTask) -> StagedShard | None:
        return staging.find(task.dataset, task.shard)

    try:
        with ThreadPoolExecutor(LOOKUP_THREADS) as threads:
            found = [item for item in threads.map(find, plan.tasks) if item is not None]
    except OSError as error:
        raise StagingError(f"cannot look for staged labels: {error}. Check storage.root.") from error
    return {item.id: item for item in found if not unreadable_shards([item])}


def compute(plan: RoundPlan, staging: Staging, tasks: list[ShardTask]) -> Iterator[StagedShard]:
    """Stage every task's shard, with actors; a shard that keeps failing is staged as unreadable by the driver."""
    brief = ray.put(
        ActorBrief(
            round=plan.round,
            config=plan.config,
            device=plan.config.fit.device,
            staging=staging,
            parent_files=plan.parent_files,
            lenses=plan.lenses,
            predictor=plan.predictor,
            imported=plan.imported,
        )
    )
    placement = place(plan.config.run.actors, plan.config.fit.device)
    fatal = (StagingError, ConfigError, OtherBodyError)
    pool: ActorPool[ShardTask, StagedShard] = ActorPool(
        lambda: _start_actor(placement, brief), placement.actors, plan.config.run.attempts, fatal
    )
    title = f"round {plan.round}" if plan.imported is None else f"import of round {plan.round}"
    total = len(plan.tasks)
    with RoundProgress(title=title, shards=total, finished=total - len(tasks), shown=plan.config.run.progress) as bar:
        for outcome in pool.run(tasks):
            item = outcome.answer if isinstance(outcome, Done) else _quarantine(plan, staging, outcome)
            bar.advance(item.readable)
            yield item


def unreadable_shards(shards: list[StagedShard]) -> list[Rejection]:
    """One rejection per shard that could not be read at all."""
    lost: Mapping[ShardId, Rejection] = {
        rejection.shard_id: rejection
        for item in shards
        for rejection in item.rejections
        if rejection.reason is RejectionReason.SHARD_UNREADABLE
    }
    return list(lost.values())


def _start_actor(placement: Placement, brief: "ray.ObjectRef[ActorBrief]") -> Any:
    return ray.remote(num_cpus=1, num_gpus=placement.gpus_per_actor)(ShardActor).remote(brief)


def _quarantine(plan: RoundPlan, staging: Staging, failure: GivenUp[ShardTask]) -> StagedShard:
    task = failure.task
    parent = parent_labels(plan.parent_files.get(task.id), plan.config.body.gender)
    reason = f"given up after {failure.attempts} attempts: {failure.reason}"
    labels = carry_over(task, plan.round, parent, reason)
    return staging.write(task.dataset, task.shard, labels.table, readable=labels.readable, rejections=labels.rejections)


def _round_lineage(plan: RoundPlan, started: datetime, code_revision: str, ray_job_id: str | None) -> Lineage:
    """What is known of a generation before its audit."""
    parent, told = plan.parent, plan.imported
    return Lineage(
        round=plan.round,
        run_id=plan.run_id,
        parent_snapshot_id=None if parent is None else parent.snapshot_id,
        parent_run_id=None if parent is None else parent.run_id,
        checkpoint_uri=None if plan.predictor is None else plan.predictor.uri,
        checkpoint_digest=None if plan.predictor is None else plan.predictor.digest,
        config=to_yaml(plan.config),
        config_digest=plan.config_digest,
        code_revision=code_revision,
        body_source=plan.config.body.source,
        body_digest=plan.body_digest,
        skel_digests=plan.skel_digests,
        inputs=plan.inputs,
        started=started.isoformat(timespec="seconds"),
        ray_job_id=ray_job_id,
        imported_from=None if told is None else f"{told.uri} (sha256 {told.digest})",
    )
