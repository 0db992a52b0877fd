"""What an import does with one shard: read its people, ask the source for their labels, gate and judge them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from jaxtyping import Integer

from pipeline.labelling.adopted_labels import ImportGates, import_people
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import convert_people
from pipeline.labelling.foreign_smpl import as_imported, with_smpl_labels
from pipeline.labelling.genders import BodyFits, check_imported_body, check_same_body, labelled_by_gender
from pipeline.labels import StagedShard
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.label_sources import Found, LabelSource
from pipeline.labels.exchange.photo_boxes import Undecided
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_batches import single_batches
from pipeline.rounds.shard_task import (
    Models,
    ShardLabels,
    ShardTask,
    carry_over,
    seen_photos,
    shard_labels,
    with_groups,
    with_guesses,
)
from pipeline.runtime.config import ConfigError
from pipeline.shards.pseudo_labels import believed
from schemas.input_shard import InputShard
from schemas.labels import Decision
from schemas.person import Person, Rejection, RejectionReason, SmplLabel

_NOT_MATCHED: Final = (Decision.NO_LABEL, Decision.KEPT_NOT_IMPORTED, Decision.KEPT_UNREADABLE)


def import_shard(
    task: ShardTask, round: int, parent: pa.Table, models: Models, config: RoundConfig, source: LabelSource
) -> ShardLabels:
    """The labels that `source` has for one shard, as labels of round `round`. `parent` as in `process_shard`.

    Raises UnreadableShardError and OtherBodyError as `process_shard`, and OSError, ValueError or LabelStoreError where
    the source cannot be read.
    """
    if task.source is None:
        return carry_over(task, round, parent, f"{task.shard} is not among the inputs of round {round}")
    rejections: list[Rejection] = []
    tables: list[pa.Table] = []
    batches = list(_batches(task.source, rejections, models, config))  # a few KB a person
    everybody = [person for people in batches for person in people]
    found = list(source.of_shard(task.dataset, task.shard, everybody))
    rejections += _undecided(everybody, found)
    for people in batches:
        own, found = found[: len(people)], found[len(people) :]
        batch = PersonBatch.from_people(people)
        known = None if round == 0 else LabelBatch.from_table(parent, batch.ids)
        labels = _imported(batch, own, known, models, config)
        tables.append(with_groups(labels, people).to_table(round))
    return shard_labels(tables, parent, rejections, round)


def _imported(
    batch: PersonBatch, found: Sequence[Found], known: LabelBatch | None, models: Models, config: RoundConfig
) -> LabelBatch:
    """SMPL labels are converted as round 0 converts those of shards, and are then labels like the others."""
    labels: list[HsmrLabel | None] = [item if isinstance(item, HsmrLabel) else None for item in found]
    check_imported_body(batch, labels)
    if known is not None:
        check_same_body(batch, known)
    converts = any(isinstance(item, SmplLabel) for item in found)
    if converts:
        smpl = [item if isinstance(item, SmplLabel) else None for item in found]
        batch = with_smpl_labels(batch, [believed(item, config.data.pseudo_labels) for item in smpl])
    gates = ImportGates(accept=config.accept, far_mm=config.fit.convert.poor_fit_mm)

    def adopt(rows: Integer[np.ndarray, "M"], fit: BodyFits) -> LabelBatch:
        people, own = batch.take(rows), [labels[row] for row in rows]
        if converts:
            converted = convert_people(people, fit.converter)
            if known is None:
                return converted
            own = [label or made for label, made in zip(own, as_imported(converted), strict=True)]
        return import_people(people, own, None if known is None else known.take(rows), fit.skelify, fit.smpl, gates)

    return labelled_by_gender(batch, models.fits, adopt)


def _undecided(people: Sequence[Person], found: Sequence[Found]) -> Iterator[Rejection]:
    """For the record: whose label could not be told from another one."""
    for person, item in zip(people, found, strict=True):
        if isinstance(item, Undecided):
            yield Rejection(**person.id._asdict(), reason=RejectionReason.IMPORT_UNDECIDED, detail=item.detail)


def matched(decisions: Mapping[str, int]) -> int:
    """How many people the source had a label of, by the decisions of an import."""
    return sum(count for name, count in decisions.items() if name not in _NOT_MATCHED)


def check_matched(source: LabelSource, shards: Sequence[StagedShard]) -> None:
    """Raises ConfigError where people were read, and none of them is in the source."""
    if any(item.readable for item in shards) and not any(matched(item.decisions) for item in shards):
        raise ConfigError(
            f"{source.uri} has no label of anybody in the input shards: do keys and shards, or photos and boxes, agree?"
        )


def _batches(
    source: InputShard, rejections: list[Rejection], models: Models, config: RoundConfig
) -> Iterator[list[Person]]:
    photos = seen_photos(source, rejections, models, config)
    for seen in single_batches(with_guesses(photos, None), config.fit.batch_size):
        yield [person for person, _ in seen.people]
