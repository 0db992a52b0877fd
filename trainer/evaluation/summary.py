"""Rows of a data set and a network to figures: means over people, PCK over the set, violations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.numerics.error_metrics import Pck, count_right, pck
from schemas.keypoints import KEYPOINT_NAMES
from trainer.evaluation.evaluation_config import EvaluationInput
from trainer.evaluation.protocols import THRESHOLDS
from trainer.evaluation.violations import PARTS, TOLERANCES_DEG, statistics

METHODS: Final[Mapping[str, str]] = {"hsmr": "HSMR", "hmr2": "HMR2.0"}
"""Names of the kinds of network, as people call them."""

Statistics = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A data set through a network. people were scored, rejected were not; body, regressor: as stated in the table.

    measures: by name, None where there is nobody to tell. pck_per_keypoint: by threshold and keypoint, without those
    never seen. violations: degrees, by allowance ("10"), part and statistic; first: the same as HSMR's code has it.
    """

    source: EvaluationInput
    checkpoint: str
    digest: str
    network: str
    body: str
    regressor: str
    people: int
    rejected: int
    measures: Mapping[str, float | None]
    pck_per_keypoint: Mapping[str, Mapping[str, float]]
    violations: Statistics
    violations_first: Statistics

    @property
    def method(self) -> str:
        """As a table's row is called."""
        return f"{METHODS[self.network]}, {self.checkpoint}"


def measures_of(source: EvaluationInput, rows: pa.Table) -> dict[str, float | None]:
    """The protocol's measures over these rows."""
    if source.protocol.truth == "keypoints_2d":
        found = set_pck(rows)
        means = [None] * len(THRESHOLDS) if found is None else found.mean.tolist()
        return {measure.name: mean for measure, mean in zip(source.protocol.measures, means, strict=True)}
    return {measure.name: _mean(rows[measure.name].to_pylist()) for measure in source.protocol.measures}


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def set_pck(rows: pa.Table) -> Pck | None:
    """PCK at THRESHOLDS, None where no keypoint of anybody counts."""
    flat = rows["keypoint_error_box"].combine_chunks().flatten()
    errors = torch.tensor(np.asarray(flat.to_numpy(zero_copy_only=False), np.float64)).reshape(-1, len(KEYPOINT_NAMES))
    valid = ~errors.isnan()
    return pck(*count_right(errors, valid, THRESHOLDS)) if valid.any() else None


def pck_per_keypoint(rows: pa.Table) -> dict[str, dict[str, float]]:
    """By threshold and keypoint, without those never seen."""
    found = set_pck(rows)
    if found is None:
        return {}
    return {
        f"{threshold:g}": {name: rate for name, rate in zip(KEYPOINT_NAMES, rates, strict=True) if rate == rate}
        for threshold, rates in zip(THRESHOLDS, found.per_keypoint.tolist(), strict=True)
    }


def violation_statistics(violations_deg: Float[Tensor, "N 4"]) -> dict[str, dict[str, dict[str, float]]]:
    """Of violations of limits without any allowance: by allowance, degrees, and part."""
    if not len(violations_deg):
        return {}
    return {
        str(tolerance): {
            part: statistics((violations_deg[:, column] - tolerance).clamp_min(0)) for column, part in enumerate(PARTS)
        }
        for tolerance in TOLERANCES_DEG
    }


def violations_in(rows: pa.Table, column: str) -> dict[str, dict[str, dict[str, float]]]:
    """`violation_statistics` of a column of rows."""
    flat = rows[column].combine_chunks().flatten().to_numpy()
    return violation_statistics(torch.tensor(flat).reshape(-1, len(PARTS)))
