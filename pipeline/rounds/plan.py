"""The plan of a round: its inputs, its parent generation, and the run_id that all of these decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.labelling.predictor import PredictorSource
from pipeline.labels import Generation, LabelStore, check_genders, derive_run_id
from pipeline.labels.exchange.label_sources import LabelSource
from pipeline.lenses.calibration import Calibration, read_calibration
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.round_config import RoundConfig, config_digest
from pipeline.rounds.shard_task import ShardTask
from pipeline.runtime.config import ConfigError
from pipeline.shards import list_shards
from schemas.input_shard import InputShard, ShardId

NOT_GIVEN = "not given"
"""The etag of a shard that the parent generation knows but this round's data.shards leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """Everything that decides the labels of a round. `config.fit.device` is resolved, never `auto`.

    `parent_files`: (dataset, shard) -> label file of generation round-1; empty in round 0. `predictor`: the network
    whose predictions start the fits, None in round 0. `lenses`: how people get their cameras. `imported`: whose labels
    are taken, None where they are fitted. `skel_digests`: of the SKEL body of each gender that people may be given.
    """

    round: int
    run_id: str
    config: RoundConfig
    config_digest: str
    body_digest: str
    parent: Generation | None
    parent_files: Mapping[ShardId, str]
    predictor: PredictorSource | None
    lenses: KnownLenses
    inputs: tuple[InputShard, ...]
    tasks: tuple[ShardTask, ...]
    imported: LabelSource | None = None
    skel_digests: Mapping[str, str] = field(default_factory=dict)


def plan_round(
    round: int, config: RoundConfig, store: LabelStore, body_digest: str, predictor: PredictorSource | None = None
) -> RoundPlan:
    """Resolve the inputs and the parent of round `round`.

    Raises ConfigError when data.shards cannot be used or round 0 is given a predictor, OSError when S3 does not answer,
    NoSuchGenerationError when round-1 is not published, and OtherBodyError where its labels are of a body that people
    are not given.
    """
    if config.fit.device == "auto":
        raise ValueError("fit.device must be resolved to cpu or cuda before a round is planned")
    if round == 0 and predictor is not None:
        raise ConfigError("Round 0 converts SMPL labels and predicts nothing. Leave predict.checkpoint out.")
    parent = store.generation(round - 1) if round > 0 else None
    known: Sequence[InputShard] = ()
    if parent is not None:
        before = store.lineage(round - 1)
        check_genders(before, config.body.gender)
        known = before.inputs
    shards = _input_shards(round, config, known)
    inputs, tasks = _with_parents(shards, known)
    lenses = _lenses(config)
    digest = config_digest(config, lenses.calibration.digest)
    run_id = derive_run_id(
        round=round,
        parent_snapshot_id=None if parent is None else parent.snapshot_id,
        checkpoint_digest=None if predictor is None else predictor.digest,
        body_digest=body_digest,
        config_digest=digest,
        inputs=inputs,
    )
    return RoundPlan(
        round=round,
        run_id=run_id,
        config=config,
        config_digest=digest,
        body_digest=body_digest,
        parent=parent,
        parent_files={} if parent is None else store.files(round - 1),
        predictor=predictor,
        lenses=lenses,
        inputs=inputs,
        tasks=tasks,
    )


def plan_import(plan: RoundPlan, source: LabelSource) -> RoundPlan:
    """The same round, from the labels of `source`."""
    run_id = derive_run_id(
        round=plan.round,
        parent_snapshot_id=None if plan.parent is None else plan.parent.snapshot_id,
        checkpoint_digest=f"import {source.digest}",
        body_digest=plan.body_digest,
        config_digest=plan.config_digest,
        inputs=plan.inputs,
    )
    return replace(plan, run_id=run_id, imported=source)


def _lenses(config: RoundConfig) -> KnownLenses:
    """Read once, on the driver: actors need not see its disk."""
    path = config.data.calibration
    calibration = Calibration() if path is None or config.camera == "hsmr" else read_calibration(path)
    return KnownLenses(mode=config.camera, calibration=calibration)


def _input_shards(round: int, config: RoundConfig, known: Sequence[InputShard]) -> list[InputShard]:
    if config.data.shards is None and round == 0:
        raise ConfigError("Round 0 needs input shards. Set data.shards='DIR/{000000..000002}.tar' (or s3://...).")
    urls: dict[str | None, list[str]] = {}
    if config.data.shards is not None:
        urls[config.data.dataset] = [config.data.shards]
    else:
        for item in known:
            urls.setdefault(item.dataset, []).append(item.url)
    try:
        return [shard for dataset, patterns in urls.items() for shard in list_shards(patterns, dataset)]
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _with_parents(
    shards: Sequence[InputShard], known: Sequence[InputShard]
) -> tuple[tuple[InputShard, ...], tuple[ShardTask, ...]]:
    """The inputs and tasks of the given shards, and of those that only the parent generation knows."""
    inputs = list(shards)
    tasks = [ShardTask(dataset=shard.dataset, shard=shard.shard, source=shard) for shard in shards]
    given = {task.id for task in tasks}
    for item in known:
        if item.id not in given:
            inputs.append(replace(item, etag=NOT_GIVEN))
            tasks.append(ShardTask(dataset=item.dataset, shard=item.shard, source=None))
    return tuple(inputs), tuple(tasks)
