"""What a round does with one shard, as a pure function: read, batch, convert or refine, carry over."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Integer

from pipeline.fit.video.track import TrackFit
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import convert_people
from pipeline.labelling.estimated_focal import with_estimated_focal
from pipeline.labelling.genders import BodyFits, check_same_body, labelled_by_gender, with_genders
from pipeline.labelling.predictor import Guess, PredictionBatch, Predictor
from pipeline.labelling.refine import refine_people
from pipeline.labelling.tracks import tracks_within
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_batches import ShardBatch, single_batches, track_batches
from pipeline.shards import read_shard
from pipeline.shards.pseudo_labels import with_believed_labels
from schemas.gender import Gender
from schemas.input_shard import InputShard, ShardId
from schemas.labels import LABEL_SCHEMA, Decision
from schemas.person import Person, Photo, Rejection, RejectionReason

PREDICTED_TOGETHER = 64  # people whose photos are held for one call of the network


class UnreadableShardError(RuntimeError):
    """A shard could not be read to its end, this time; another attempt may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """One shard of a round. `source` is None for a shard that only the parent generation knows."""

    dataset: str
    shard: str
    source: InputShard | None

    @property
    def id(self) -> ShardId:
        return ShardId(self.dataset, self.shard)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLabels:
    """The outcome: `table` of LABEL_SCHEMA, one row per readable person, then the rows carried over."""

    table: pa.Table
    readable: int
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What an actor keeps between shards. fits: by the gender of people, all that `body.gender` may give.
    `predictor` is None where fits start from the parent labels alone.
    """

    fits: Mapping[Gender, BodyFits]
    lenses: KnownLenses
    predictor: Predictor | None = None


def process_shard(task: ShardTask, round: int, parent: pa.Table, models: Models, config: RoundConfig) -> ShardLabels:
    """Labels of round `round` for one shard. `parent` holds the shard's rows of generation round-1, none in round 0.

    The same shard gives the same labels whichever actor runs it and in whatever order. Raises UnreadableShardError when
    reading fails, even midway: labels of half a shard would pass for labels of all of it; OtherBodyError where a parent
    label belongs to another body than its person is given.
    """
    if task.source is None:
        return carry_over(task, round, parent, f"{task.shard} is not among the inputs of round {round}")
    rejections: list[Rejection] = []
    tables: list[pa.Table] = []
    predictor = None if round == 0 else models.predictor
    guessed = with_guesses(seen_photos(task.source, rejections, models, config), predictor)
    if round > 0 and config.fit.temporal:
        batches = track_batches(guessed, config.fit.batch_size, config.fit.track, rejections)
    else:
        batches = single_batches(guessed, config.fit.batch_size)
    for seen in batches:
        batch = PersonBatch.from_people([person for person, _ in seen.people])
        if round == 0:
            labels = _converted(batch, models)
        else:
            labels = _refined(seen, batch, LabelBatch.from_table(parent, batch.ids), models, config)
        labels = with_groups(labels, [person for person, _ in seen.people])
        tables.append(labels.take(seen.wanted).to_table(round))
    return shard_labels(tables, parent, rejections, round)


def shard_labels(
    tables: Sequence[pa.Table], parent: pa.Table, rejections: Sequence[Rejection], round: int
) -> ShardLabels:
    """The outcome of a shard whose people's rows are in `tables`. Raises UnreadableShardError as `process_shard`."""
    for rejection in rejections:
        if rejection.reason is RejectionReason.SHARD_UNREADABLE:
            raise UnreadableShardError(rejection.detail)
    labelled = pa.concat_tables([LABEL_SCHEMA.empty_table(), *tables])
    carried = carried_rows(parent, labelled, round)
    return ShardLabels(
        table=pa.concat_tables([labelled, carried]).combine_chunks(),
        readable=labelled.num_rows,
        rejections=tuple(rejections),
    )


def _converted(batch: PersonBatch, models: Models) -> LabelBatch:
    def convert(rows: Integer[np.ndarray, "M"], fit: BodyFits) -> LabelBatch:
        return convert_people(batch.take(rows), fit.converter)

    return labelled_by_gender(batch, models.fits, convert)


def _refined(
    seen: ShardBatch, batch: PersonBatch, known: LabelBatch, models: Models, config: RoundConfig
) -> LabelBatch:
    check_same_body(batch, known)
    skelify = {gender: fit.skelify for gender, fit in models.fits.items()}
    batch = with_estimated_focal(batch, known, skelify, seen.tracks)

    def refine(rows: Integer[np.ndarray, "M"], fit: BodyFits) -> LabelBatch:
        prediction = None
        if models.predictor is not None:
            prediction = PredictionBatch.from_guesses([seen.people[row][1] for row in rows])
        tracks = tracks_within(seen.tracks, rows)
        track_fit = TrackFit(fit.skelify, config.fit.track) if tracks else None
        people, parent = batch.take(rows), known.take(rows)
        return refine_people(people, parent, prediction, fit.skelify, fit.smpl, config.accept, track_fit, tracks)

    return labelled_by_gender(batch, models.fits, refine)


def with_groups(labels: LabelBatch, people: Sequence[Person]) -> LabelBatch:
    """The labels of these people with the groups of their photos."""
    return labels.with_columns(photo_group=[person.photo_group or 0 for person in people])


def carry_over(task: ShardTask, round: int, parent: pa.Table, reason: str) -> ShardLabels:
    """A shard that cannot be processed: nobody is readable, the parent's rows stay, the reason is recorded."""
    rejection = Rejection(
        dataset=task.dataset,
        shard=task.shard,
        key=None,
        person=None,
        reason=RejectionReason.SHARD_UNREADABLE,
        detail=reason,
    )
    table = carried_rows(parent, LABEL_SCHEMA.empty_table(), round)
    return ShardLabels(table=table, readable=0, rejections=(rejection,))


def with_guesses(photos: Iterable[Photo], predictor: Predictor | None) -> Iterator[tuple[Person, Guess | None]]:
    """Every person with the network's guess, or without where there is no network. Holds a few photos at a time."""
    if predictor is None:
        yield from ((person, None) for photo in photos for person in photo.people)
        return
    waiting: list[Photo] = []
    for photo in photos:
        waiting.append(photo)
        if sum(len(item.people) for item in waiting) >= PREDICTED_TOGETHER:
            yield from _guessed(waiting, predictor)
            waiting = []
    yield from _guessed(waiting, predictor)


def _guessed(photos: list[Photo], predictor: Predictor) -> Iterator[tuple[Person, Guess | None]]:
    people = [person for photo in photos for person in photo.people]
    yield from zip(people, predictor.predict(photos) if people else (), strict=True)


def seen_photos(
    source: InputShard, rejections: list[Rejection], models: Models, config: RoundConfig
) -> Iterator[Photo]:
    """The photos of a shard as a stream, with their lenses, the pseudo-labels that are believed, and the gender
    that each person is given; its rejections are gathered on the way.
    """
    photos = _photos_of(read_shard(source), rejections)
    for photo in models.lenses.of(photos):
        yield with_genders(with_believed_labels(photo, config.data.pseudo_labels), config.body.gender)


def _photos_of(samples: Iterable[Photo | Rejection], rejections: list[Rejection]) -> Iterator[Photo]:
    for sample in samples:
        if isinstance(sample, Rejection):
            rejections.append(sample)
        else:
            yield sample


def carried_rows(parent: pa.Table, labelled: pa.Table, round: int) -> pa.Table:
    """The parent's rows whose (key, person) is not in `labelled`, as rows of this round, `kept_unreadable`."""
    present = set(_identities(labelled))
    missing = np.array([identity not in present for identity in _identities(parent)], dtype=bool)
    rows = parent.filter(pa.array(missing)).select(LABEL_SCHEMA.names)
    replaced: Sequence[tuple[str, pa.Array]] = (
        ("round", pa.repeat(pa.scalar(round, pa.int32()), rows.num_rows)),
        ("decision", pa.repeat(pa.scalar(Decision.KEPT_UNREADABLE.value), rows.num_rows)),
        ("parent_kp2d_error", pc.cast(rows["kp2d_error"], pa.float64())),
        ("parent_energy", pc.cast(rows["energy"], pa.float64())),
        ("candidate_kp2d_error", pa.nulls(rows.num_rows, pa.float64())),
        ("iterations", pa.nulls(rows.num_rows, pa.int32())),
    )
    for name, values in replaced:
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    return rows.cast(LABEL_SCHEMA)


def _identities(table: pa.Table) -> Iterable[tuple[str, int]]:
    return zip(table["key"].to_pylist(), table["person"].to_pylist(), strict=True)
