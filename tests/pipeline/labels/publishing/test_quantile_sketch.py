"""Quantiles in fixed memory against numpy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labels.publishing.quantile_sketch import QuantileSketch

SHARES = (0.05, 0.5, 0.95)


def sketched(*parts: np.ndarray) -> QuantileSketch:
    sketch = QuantileSketch()
    for part in parts:
        sketch.add(part)
    return sketch


@pytest.mark.parametrize("scale", [1e-6, 0.01, 40.0, 1e6])
def test_millions_of_values_within_their_bin(scale: float) -> None:
    values = np.random.default_rng(0).gamma(3.0, scale, 1_000_000)
    found = sketched(*np.array_split(values, 500)).quantiles()
    assert found is not None
    assert (found.count, found.max) == (len(values), values.max())
    assert found.mean == pytest.approx(values.mean())
    assert [found.p05, found.p50, found.p95] == pytest.approx(np.quantile(values, SHARES).tolist(), rel=5e-4)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=50))
def test_few_values_are_exact(numbers: list[int]) -> None:
    values = np.array(numbers, np.float64) / 7
    found = sketched(values[:20], values[20:]).quantiles()
    assert found is not None
    assert [found.p05, found.p50, found.p95] == pytest.approx(np.quantile(values, SHARES).tolist())
    assert found.p95 <= found.max == values.max()


def test_what_is_no_number_is_left_out() -> None:
    assert QuantileSketch().quantiles() is None
    assert sketched(np.array([np.nan, np.inf])).quantiles() is None
    found = sketched(np.array([np.nan, 3.0, -np.inf]), np.array([1e300, -0.0])).quantiles()
    assert found is not None
    assert (found.count, found.p50, found.max) == (3, 3.0, 1e300)
