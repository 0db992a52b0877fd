"""Whom a report shows: those farthest from their keypoints, those whose labels moved most, and some drawn by lot."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from pipeline.image.crop import CROP_PX
from pipeline.labels.files.columns import figures, mask
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import PersonId

SHOWN: Final = 24
"""People of each kind."""


class ShownPerson(NamedTuple):
    """Somebody with a label. Errors in px of the 256 px crop; before_px and changed_deg None without a label before."""

    id: PersonId
    decision: str
    error_px: float | None
    before_px: float | None
    changed_deg: float | None
    lot: float = 0.0


@dataclass(frozen=True)
class ShownPeople:
    """At most SHOWN of each kind, first those who stand out most. One person may be of several kinds."""

    worst: tuple[ShownPerson, ...] = ()
    most_changed: tuple[ShownPerson, ...] = ()
    by_lot: tuple[ShownPerson, ...] = ()

    def __add__(self, other: "ShownPeople") -> "ShownPeople":
        return ShownPeople(
            _first(self.worst + other.worst, lambda person: person.error_px or 0.0),
            _first(self.most_changed + other.most_changed, lambda person: person.changed_deg or 0.0),
            _first(self.by_lot + other.by_lot, lambda person: -person.lot),
        )

    def ids(self) -> set[PersonId]:
        return {person.id for kind in (self.worst, self.most_changed, self.by_lot) for person in kind}


def shown_people(
    table: pa.Table, before_px: Float64[np.ndarray, "N"], changed_deg: Float64[np.ndarray, "N"]
) -> ShownPeople:
    """Of the rows of one shard; before_px, changed_deg: NaN where unknown. The lot falls by shard and by rank of the
    identity in it: the same in every generation, so that one sees the same people again.
    """
    rows = np.flatnonzero(mask(table["has_label"]))
    if not len(rows):
        return ShownPeople()
    error, lots = figures(table["kp2d_error"]) * CROP_PX, _lots(table)

    def person(i: int) -> ShownPerson:
        name = {column: table[column][i].as_py() for column in IDENTITY_COLUMNS}
        values = (error[i], before_px[i], changed_deg[i])
        known = (float(value) if np.isfinite(value) else None for value in values)
        return ShownPerson(PersonId(**name), table["decision"][i].as_py(), *known, lot=float(lots[i]))

    kinds = (_largest(error, rows), _largest(changed_deg, rows), _largest(-lots, rows))
    return ShownPeople(*(tuple(person(int(i)) for i in chosen) for chosen in kinds))


def _lots(table: pa.Table) -> Float64[np.ndarray, "N"]:
    first = f"{table['dataset'][0].as_py()}/{table['shard'][0].as_py()}"
    seed = int.from_bytes(hashlib.blake2b(first.encode(), digest_size=8).digest(), "big")
    order = pc.call_function(
        "sort_indices", [table], pc.SortOptions(sort_keys=[("key", "ascending"), ("person", "ascending")])
    ).to_numpy()
    lots = np.empty(len(table))
    lots[order] = np.random.default_rng(seed).random(len(table))
    return lots


def _largest(values: Float64[np.ndarray, "N"], rows: Int64[np.ndarray, "M"]) -> Int64[np.ndarray, "n"]:
    """The SHOWN rows of the largest values, those first; values that are not finite count for none."""
    known = rows[np.isfinite(values[rows])]
    return known[np.argsort(-values[known], kind="stable")[:SHOWN]]


def _first(people: tuple[ShownPerson, ...], key: Callable[[ShownPerson], float]) -> tuple[ShownPerson, ...]:
    return tuple(sorted(people, key=lambda person: (-key(person), person.id))[:SHOWN])
