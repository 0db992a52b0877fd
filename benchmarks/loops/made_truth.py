"""Made people whose truth is known, drawn once and kept, and whose pose is extreme."""

import itertools
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.body import Skel, load_skel
from pipeline.demo_set import DemoSet, make_demo_set
from pipeline.fit.starts.mean_pose import mean_q
from pipeline.labels import vectors
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import PersonId
from schemas.skel import N_UNLIMITED

EXTREME_SHARE: Final = 0.25
_PEOPLE_PER_SHARD: Final = 250
_FEWEST_SHARDS: Final = 4  # so that every actor has something to do

Poses = Mapping[str, Collection[PersonId] | None]
"""all, standard and extreme -> the people whose true pose is so, None: everybody."""


class MadeTruth:
    """A demo set of one seed. Extreme is the quarter of the people whose true pose is furthest from the mean pose, as
    the root mean square difference of the 43 limited angles; the others are standard.
    """

    def __init__(self, folder: Path, people: int, seed: int) -> None:
        """Draws the people, or finds them in the folder."""
        shards = max(_FEWEST_SHARDS, people // _PEOPLE_PER_SHARD)
        self.data: DemoSet = make_demo_set(folder, people=people, shards=shards, seed=seed, progress=True)
        self.truth: pa.Table = pq.read_table(self.data.truth_path)
        self.skel: Skel = load_skel()

    @cached_property
    def poses(self) -> Poses:
        """Whom to average over."""
        away = vectors(self.truth["q"])[:, N_UNLIMITED:] - mean_q().numpy()[N_UNLIMITED:]
        distance = np.sqrt(np.square(away).mean(1))
        far = distance > np.quantile(distance, 1 - EXTREME_SHARE)
        people = [PersonId(*row) for row in zip(*(self.truth[n].to_pylist() for n in IDENTITY_COLUMNS), strict=True)]
        chosen = {"standard": ~far, "extreme": far}
        return {"all": None} | {name: frozenset(itertools.compress(people, rows)) for name, rows in chosen.items()}
