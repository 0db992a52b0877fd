"""Video: who of a shard's people is the same person in successive frames, as parts that are fitted together.

A track is (dataset, shard, track_id, fps, gender): what another shard holds of the same track_id is another track, so
that a shard stays a unit of work whose labels nobody else's can change; frames of another gender are of another body.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Integer

from schemas.gender import DEFAULT_GENDER, Gender
from schemas.person import Person, Rejection, RejectionReason

MARGIN = 15
"""Frames that a part of a long track sees beyond either end of what it is asked for: motion binds no further."""


class TrackPart(NamedTuple):
    """Frames of one track in their order: their rows in a list of people, times (s), and whose labels are asked for."""

    rows: Integer[np.ndarray, "T"]
    times: Float64[np.ndarray, "T"]
    wanted: Bool[np.ndarray, "T"]


def find_tracks(people: Sequence[Person], fps: float, max_frames: int) -> tuple[list[TrackPart], list[Rejection]]:
    """The tracks of at least two frames among `people`, in parts of at most max_frames; `fps` where none is recorded.

    People who claim the same frame of a track are taken out of it, all of them, and recorded: nothing tells which of
    them is right, and the order of a file must not. A gap in the frame numbers is a gap in time.
    """
    frames: dict[tuple[str, float, Gender], dict[int, list[int]]] = {}
    for row, person in enumerate(people):
        if person.track is not None:
            track_id, frame = person.track
            track = (track_id, person.fps or fps, person.gender or DEFAULT_GENDER)
            frames.setdefault(track, {}).setdefault(frame, []).append(row)
    parts: list[TrackPart] = []
    rejections: list[Rejection] = []
    for (track_id, rate, _), claims in frames.items():
        rejections += [
            _duplicate(people[row], track_id, len(rows)) for rows in claims.values() if len(rows) > 1 for row in rows
        ]
        alone = sorted((frame, rows[0]) for frame, rows in claims.items() if len(rows) == 1)
        if len(alone) > 1:
            numbers, rows = np.array(alone, dtype=np.int64).T
            parts += _parts(rows, (numbers - numbers[0]) / rate, max_frames)
    return parts, rejections


def tracks_within(tracks: Sequence[TrackPart], rows: Integer[np.ndarray, "M"]) -> tuple[TrackPart, ...]:
    """Those of the tracks that lie within some of the people, by their rows among these, which ascend."""
    return tuple(
        part._replace(rows=np.searchsorted(rows, part.rows)) for part in tracks if np.isin(part.rows, rows).all()
    )


def _parts(rows: Integer[np.ndarray, "T"], times: Float64[np.ndarray, "T"], max_frames: int) -> list[TrackPart]:
    """One part where the track fits into it, else equal parts, each seen with the margins around it."""
    count = len(rows)
    if count <= max_frames:
        return [TrackPart(rows, times, np.ones(count, dtype=bool))]
    margin = min(MARGIN, (max_frames - 1) // 4)
    parts = []
    for wanted in np.array_split(np.arange(count), -(-count // (max_frames - 2 * margin))):
        seen = np.arange(max(0, wanted[0] - margin), min(count, wanted[-1] + 1 + margin))
        parts.append(TrackPart(rows[seen], times[seen], np.isin(seen, wanted)))
    return parts


def _duplicate(person: Person, track_id: str, claims: int) -> Rejection:
    frame = 0 if person.track is None else person.track[1]
    detail = f"{claims} people are frame {frame} of track {track_id!r}: each is fitted alone"
    return Rejection(
        dataset=person.id.dataset,
        shard=person.id.shard,
        key=person.id.key,
        person=person.id.person,
        reason=RejectionReason.DUPLICATE_FRAME,
        detail=detail,
    )
