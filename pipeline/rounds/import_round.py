"""A generation from labels that somebody else made: read, matched by identity, measured, audited, published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import torch

from pipeline.body import load_skel
from pipeline.fit import Skelify
from pipeline.labelling.adopted_labels import import_people
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labels import Generation, LabelStore, Lineage, StagedShard, Staging, derive_run_id, read_labels
from pipeline.labels.exchange.label_sources import LabelSource
from pipeline.rounds.driver import driver_lock, resolved_plan, round_lineage, unreadable_shards
from pipeline.rounds.plan import RoundPlan
from pipeline.rounds.progress import RoundProgress
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_batches import single_batches
from pipeline.rounds.shard_task import (
    ShardTask,
    carried_rows,
    carry_over,
    photos_of,
    with_groups,
    with_guesses,
    with_heights,
)
from pipeline.runtime.config import ConfigError
from pipeline.shards import read_shard
from schemas.input_shard import InputShard
from schemas.labels import LABEL_SCHEMA
from schemas.person import Person, Rejection, RejectionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The outcome. `matched`: people of the input shards for whom the source had a label."""

    generation: Generation
    already_published: bool
    matched: int
    people: int


def import_round(
    round: int,
    config: RoundConfig,
    source: LabelSource,
    store: LabelStore,
    *,
    code_revision: str = "unknown",
    force_publish: str | None = None,
) -> Imported:
    """Publish the labels of `source` as generation `round`: whole in round 0, later where they beat the parent's.

    People are matched by key and person (and data set and shard, where the source tells them) to the readable people of
    data.shards, or of the parent's inputs. Killed at any moment it is started again. Raises as `run_round`, and
    ConfigError when nobody matches.
    """
    started = datetime.now(UTC)
    made = _with_source(resolved_plan(round, config, store, None, None), source)
    if earlier := store.published_by(round, made.run_id):
        return Imported(generation=earlier, already_published=True, matched=0, people=earlier.rows)
    with driver_lock(made, store) as lock:
        staging = store.staging(round, made.run_id, made.config_digest)
        shards, matched = _stage_all(made, staging, source)
        people = sum(item.readable for item in shards)
        if people and not matched:
            raise ConfigError(f"{source.uri} has no label of anybody in the input shards: do keys and shards agree?")
        lineage = round_lineage(made, started, code_revision, None)
        lineage = _told(lineage, source)
        lock.check()
        publication = store.publish(lineage, shards, unreadable_shards(shards), config.audit, force=force_publish)
    return Imported(
        generation=publication.generation,
        already_published=publication.already_published,
        matched=matched,
        people=people,
    )


def _with_source(made: RoundPlan, source: LabelSource) -> RoundPlan:
    run_id = derive_run_id(
        round=made.round,
        parent_snapshot_id=None if made.parent is None else made.parent.snapshot_id,
        checkpoint_digest=f"import {source.digest}",
        body_digest=made.body_digest,
        config_digest=made.config_digest,
        inputs=made.inputs,
    )
    return replace(made, run_id=run_id)


def _told(lineage: Lineage, source: LabelSource) -> Lineage:
    return replace(lineage, imported_from=f"{source.uri} (sha256 {source.digest})")


def _stage_all(made: RoundPlan, staging: Staging, source: LabelSource) -> tuple[list[StagedShard], int]:
    body, fit = made.config.body, made.config.fit
    skel = load_skel(body.source, gender=body.gender, device=fit.device, dtype=getattr(torch, fit.dtype))
    skelify = Skelify(skel, fit.skelify)
    shards: list[StagedShard] = []
    matched = 0
    title = f"import of round {made.round}"
    with RoundProgress(title=title, shards=len(made.tasks), finished=0, shown=made.config.run.progress) as bar:
        for task in made.tasks:
            url = made.parent_files.get(task.id)
            parent = LABEL_SCHEMA.empty_table() if url is None else read_labels(url)
            staged, known = _stage(task, parent, made, staging, source, skelify)
            shards.append(staged)
            matched += known
            bar.advance(staged.readable)
    return shards, matched


def _stage(
    task: ShardTask, parent: pa.Table, made: RoundPlan, staging: Staging, source: LabelSource, skelify: Skelify
) -> tuple[StagedShard, int]:
    """The shard's file, and how many of its people the source knows."""
    if task.source is None:
        labels = carry_over(task, made.round, parent, f"{task.shard} is not among the inputs of round {made.round}")
        return _write(staging, task, labels.table, labels.readable, labels.rejections), 0
    rejections: list[Rejection] = []
    tables, matched = [LABEL_SCHEMA.empty_table()], 0
    for people in _batches(task.source, rejections, made):
        batch = PersonBatch.from_people(people)
        found = source.of_shard(task.dataset, task.shard, batch.ids)
        matched += sum(label is not None for label in found)
        known = None if made.round == 0 else LabelBatch.from_table(parent, batch.ids)
        labels = import_people(batch, found, known, skelify, made.config.accept)
        tables.append(with_groups(with_heights(labels, skelify.model), people).to_table(made.round))
    for rejection in rejections:
        if rejection.reason is RejectionReason.SHARD_UNREADABLE:
            labels = carry_over(task, made.round, parent, rejection.detail)
            return _write(staging, task, labels.table, labels.readable, labels.rejections), 0
    labelled = pa.concat_tables(tables)
    table = pa.concat_tables([labelled, carried_rows(parent, labelled, made.round)]).combine_chunks()
    return _write(staging, task, table, labelled.num_rows, rejections), matched


def _batches(source: InputShard, rejections: list[Rejection], made: RoundPlan) -> Iterator[list[Person]]:
    photos = made.lenses.of(photos_of(read_shard(source), rejections))
    for seen in single_batches(with_guesses(photos, None), made.config.fit.batch_size):
        yield [person for person, _ in seen.people]


def _write(
    staging: Staging, task: ShardTask, table: pa.Table, readable: int, rejections: Sequence[Rejection]
) -> StagedShard:
    return staging.write(task.dataset, task.shard, table, readable=readable, rejections=rejections)
