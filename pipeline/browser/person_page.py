"""All that is known of one person: the rows of every round with reasons and lineage, and its frames in a video."""

import math
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.browser.decision_words import reason
from pipeline.browser.generations import Generations
from pipeline.browser.locked_sql import QueryRefusedError
from pipeline.browser.photo_shelf import NoPhotoError, PhotoShelf
from pipeline.image.crop import CROP_PX
from pipeline.labels.files.columns import equals, vectors
from pipeline.labels.table.generation import Generation
from schemas.input_shard import ShardId
from schemas.person import PersonId
from schemas.skel import DOFS, N_UNLIMITED

FRAMES: Final = 60
"""Photos of a sequence on either side of the person's own."""


def angles() -> list[dict[str, object]]:
    """Name and limits of the 46 angles, degrees; null for the pelvis, which has none."""
    return [
        {
            "name": dof.name,
            "low": None if i < N_UNLIMITED else math.degrees(dof.low),
            "high": None if i < N_UNLIMITED else math.degrees(dof.high),
        }
        for i, dof in enumerate(DOFS)
    ]


def person_page(generations: Generations, who: PersonId) -> dict[str, object]:
    """The person's rows, oldest round first. Raises QueryRefusedError when no round knows the person."""
    found = generations.all()
    rounds = []
    for k in found:
        row = generations.row(k, who)
        if row is not None:
            rounds.append(_round(found[k], row))
    if not rounds:
        raise QueryRefusedError(f"no published round has a row of {who.dataset}/{who.shard}/{who.key} #{who.person}")
    return {"who": who._asdict(), "rounds": rounds}


def _round(generation: Generation, row: dict[str, Any]) -> dict[str, object]:
    error = row["kp2d_error"]
    labelled = bool(row["has_label"])
    return {
        "round": generation.round,
        "labelled": labelled,
        "decision": row["decision"],
        "start": row["start_source"],
        "reason": reason(row["decision"], row["start_source"]),
        "px": None if error is None else error * CROP_PX,
        "q_deg": _degrees(row["q"]) if labelled else None,
        "q_std_deg": _degrees(row["q_std"]) if labelled else None,
        "prediction_deg": _degrees(row["prediction_q"]) if labelled and max(row["prediction_q_std"]) > 0 else None,
        "lineage": {
            "run": generation.run_id,
            "snapshot": str(generation.snapshot_id),
            "parent snapshot": None if generation.parent_snapshot_id is None else str(generation.parent_snapshot_id),
            "published": generation.published.isoformat(timespec="seconds"),
            "checkpoint": generation.checkpoint_uri,
            "body": generation.body_source,
            "code": generation.code_revision,
            "forced": None if generation.forced is None else generation.forced.reason,
        },
        "row": {name: _plain(value) for name, value in row.items()},
    }


def neighbours(
    generations: Generations, shelf: PhotoShelf, who: PersonId, rounds: tuple[int, int]
) -> dict[str, object]:
    """The person's frames in the video, in order, and its angles in each, degrees, in rounds A and B.

    By the track that the shard states, else (stated in `by`) by the place in the list of people. Raises
    QueryRefusedError for a round that is not there.
    """
    tables = [generations.table(k, who.shard_id) for k in rounds]
    own = next((rows for table in tables if table is not None and len(rows := _rows(table, who.key, who.person))), None)
    group = None if own is None else own["photo_group"][0].as_py()
    keys: set[str] = set()
    for table in tables if group is not None else ():
        if table is not None:
            keys |= set(table.filter(pa.array(equals(table["photo_group"].fill_null(0), group)))["key"].to_pylist())
    ordered = sorted(keys)
    if who.key not in ordered or len(ordered) < 2:
        return {"frames": [], "angles": {}, "by": None}
    at = ordered.index(who.key)
    near = ordered[max(0, at - FRAMES) : at + FRAMES + 1]
    frames, by = _frames(shelf, who, near)
    found: dict[str, list[object]] = {}
    for name, table in zip(("a", "b"), tables, strict=True):
        found[name] = [None if table is None else _angles(table, key, person) for key, person, _ in frames]
    return {
        "frames": [{"key": key, "person": person, "frame": frame} for key, person, frame in frames],
        "angles": found,
        "by": by,
    }


def _frames(shelf: PhotoShelf, who: PersonId, keys: list[str]) -> tuple[list[tuple[str, int, int]], str]:
    """(key, person, frame) of the same track."""
    try:
        tracks = shelf.tracks(ShardId(who.dataset, who.shard), keys)
    except NoPhotoError:
        tracks = {}
    own = tracks.get((who.key, who.person))
    if own is None:
        return [(key, who.person, i) for i, key in enumerate(keys)], "place in the list of people"
    found = [(key, person, frame) for (key, person), (track, frame) in tracks.items() if track == own[0]]
    return sorted(found, key=lambda item: item[2]), f"track {own[0]}"


def _rows(table: pa.Table, key: str, person: int) -> pa.Table:
    return table.filter(pa.array(equals(table["key"], key) & equals(table["person"], person)))


def _angles(table: pa.Table, key: str, person: int) -> list[float | None] | None:
    rows = _rows(table, key, person)
    if not len(rows) or not rows["has_label"][0].as_py():
        return None
    return _degrees(vectors(rows["q"])[0])


def _degrees(values: object) -> list[float | None]:
    degrees = np.degrees(np.asarray(values, np.float64))
    return [round(float(value), 3) if np.isfinite(value) else None for value in degrees]


def _plain(value: object) -> object:
    """As JSON can say it: no NaN; whole numbers that JavaScript would round as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53 else value
