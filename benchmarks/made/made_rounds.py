"""Rounds of labels of made people, whose truth is known, with networks of stated quality; nothing is trained."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float

from benchmarks.made.predictors import DEFAULT_NOISE, MadePredictor
from pipeline.body import Skel
from pipeline.body.rotations import wrapped
from pipeline.demo_set import DemoSet, make_demo_set
from pipeline.lenses.known_lens import KnownLenses
from pipeline.render.label_overlay import labels_by_person
from pipeline.rounds.actor import load_models
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardTask, process_shard
from pipeline.shards import list_shards
from schemas.gender import DEFAULT_GENDER
from schemas.labels import LABEL_SCHEMA
from schemas.person import PersonId

PEOPLE: Final = 240
ROUNDS: Final = 2
NONE: Final = "none"
_SHARDS: Final = 4


class Case(NamedTuple):
    """A network of `predictors.KINDS`, off by `noise` rad, or NONE."""

    kind: str
    noise: float

    @classmethod
    def of(cls, text: str) -> "Case":
        """Of KIND or KIND:s. Raises ValueError, listing the kinds."""
        found = re.fullmatch(r"(\w+)(?::([0-9.]+))?", text)
        kind = found[1] if found else ""
        if not found or kind not in {NONE, *DEFAULT_NOISE}:
            kinds = ", ".join(DEFAULT_NOISE)
            raise ValueError(f"--predictor {text}: KIND or KIND:s expected, KIND one of none, {kinds}.")
        return cls(kind, float(found[2]) if found[2] else DEFAULT_NOISE.get(kind, 0.0))


class Known(NamedTuple):
    """People of a generation and of the truth: their rows, the errors of q (N, 46), rad, and q_std (N, 46) rad."""

    who: list[PersonId]
    error: Float[np.ndarray, "N 46"]
    std: Float[np.ndarray, "N 46"]


@dataclass(frozen=True)
class MadeRounds:
    """A demo set and what refines it; truth: TRUTH_SCHEMA; betas_noise: how far off the networks' betas are."""

    data: DemoSet
    truth: pa.Table
    models: Models
    config: RoundConfig
    seed: int
    betas_noise: float

    @property
    def skel(self) -> Skel:
        """The body of labels and truth."""
        return self.models.fits[DEFAULT_GENDER].skel

    def zero(self) -> list[pa.Table]:
        """Labels of round 0, a table a shard."""
        return self._round(0, None, self.models)

    def rounds(self, case: Case, count: int, zero: Sequence[pa.Table]) -> Iterator[tuple[int, list[pa.Table]]]:
        """Rounds 1 to `count` from the labels of round 0: number and labels, a table a shard."""
        models, predictor, labels = self.models, None, list(zero)
        if case.kind != NONE:
            truth = labels_by_person(self.truth)
            predictor = MadePredictor(case.kind, case.noise, truth, self.seed, self.betas_noise)
            models = replace(models, predictor=predictor)
        for number in range(1, count + 1):
            if predictor is not None:
                predictor.round, predictor.labels = number, labels_by_person(pa.concat_tables(labels))
            labels = self._round(number, labels, models)
            yield number, labels

    def against_truth(self, labels: pa.Table) -> Known:
        """Errors of q, the short way round, and what the labels claim, of everyone labelled."""
        true, found = labels_by_person(self.truth), labels_by_person(labels)
        who = [person for person in found if person in true]

        def stacked(name: str, of: Mapping[PersonId, Mapping[str, Any]]) -> np.ndarray:
            return np.array([of[person][name] for person in who])

        turn = wrapped(torch.from_numpy(stacked("q", found) - stacked("q", true))).numpy()
        return Known(who, turn, stacked("q_std", found))

    def _round(self, number: int, parents: Sequence[pa.Table] | None, models: Models) -> list[pa.Table]:
        shards = list_shards(self.data.shard_pattern)
        before = parents or [LABEL_SCHEMA.empty_table()] * len(shards)
        return [
            process_shard(
                ShardTask(dataset=shard.dataset, shard=shard.shard, source=shard), number, parent, models, self.config
            ).table
            for shard, parent in zip(shards, before, strict=True)
        ]


@contextmanager
def made_rounds(people: int, seed: int, betas_noise: float) -> Iterator[MadeRounds]:
    """Made people in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        data = make_demo_set(Path(folder) / "demo", people=people, shards=_SHARDS, seed=seed)
        config = RoundConfig()
        models = load_models(config, "cpu", KnownLenses(), None)
        yield MadeRounds(data, pq.read_table(data.truth_path), models, config, seed, betas_noise)
