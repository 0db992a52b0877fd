"""How a shard's people are cut into batches: never through a photo, nor, for video, through a part of a track."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import Integer

from pipeline.fit.video.track import TrackConfig
from pipeline.labelling.predictor import Guess
from pipeline.labelling.tracks import TrackPart, find_tracks
from schemas.person import Person, Rejection

Guessed = tuple[Person, Guess | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardBatch:
    """People to be labelled together, the tracks among them by row, and the rows whose labels are asked for."""

    people: list[Guessed]
    tracks: tuple[TrackPart, ...]
    wanted: Integer[np.ndarray, "M"]


def single_batches(people: Iterable[Guessed], size: int) -> Iterator[ShardBatch]:
    """Batches of people of whom each is a problem of their own."""
    for batch in _in_batches(people, size):
        yield ShardBatch(people=batch, tracks=(), wanted=np.arange(len(batch)))


def track_batches(
    people: Iterable[Guessed], size: int, config: TrackConfig, rejections: list[Rejection]
) -> Iterator[ShardBatch]:
    """Batches of `size` people, or of one part of a track where that is larger; everybody is wanted exactly once.

    Those of tracks are gathered (a few KB each) until the shard ends, for it may hold them in any order; the others
    stream by. What keeps a person out of a track is added to `rejections`.
    """
    filmed: list[Guessed] = []
    yield from single_batches(_aside(people, filmed), size)
    parts, refused = find_tracks([person for person, _ in filmed], config.fps, config.max_frames)
    rejections += refused
    tracked = {int(row) for part in parts for row in part.rows}
    yield from single_batches((who for row, who in enumerate(filmed) if row not in tracked), size)
    waiting: list[TrackPart] = []
    for part in parts:
        if waiting and sum(len(other.rows) for other in (*waiting, part)) > size:
            yield _joined(waiting, filmed)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _joined(waiting, filmed)


def _in_batches(people: Iterable[Guessed], size: int) -> Iterator[list[Guessed]]:
    """Lists of whole photos, each ended as soon as it has `size` people: people of one photo share what its lens is."""
    batch: list[Guessed] = []
    for _, photo in groupby(people, key=lambda who: who[0].id.key):
        batch += photo
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _aside(people: Iterable[Guessed], filmed: list[Guessed]) -> Iterator[Guessed]:
    """Pass on who has no track, put the others aside."""
    for who in people:
        if who[0].track is None:
            yield who
        else:
            filmed.append(who)


def _joined(parts: list[TrackPart], filmed: list[Guessed]) -> ShardBatch:
    starts = np.cumsum([0, *(len(part.rows) for part in parts)])
    return ShardBatch(
        people=[filmed[row] for part in parts for row in part.rows],
        tracks=tuple(
            part._replace(rows=start + np.arange(len(part.rows)))
            for start, part in zip(starts[:-1], parts, strict=True)
        ),
        wanted=np.flatnonzero(np.concatenate([part.wanted for part in parts])),
    )
