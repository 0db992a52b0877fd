"""Quantiles of a stream of values in fixed memory: the driver of a round must not hold a number per person."""

from typing import Final

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from pipeline.labels.files.lineage import Quantiles

_DROPPED_BITS: Final = 12  # of a float32's 23 bits of mantissa: 2^11 bins an octave, each 0.05 % wide
_BINS: Final = 2 ** (31 - _DROPPED_BITS)


class QuantileSketch:
    """Count, mean and maximum of what was added, exact; quantiles to 0.05 %, and exact while no bin holds two values.

    For values >= 0, as errors are: a bin is the upper bits of the float32 next to a value, in whose order values are.
    Takes 8 MB. The order of `add` calls matters to the last digit only.
    """

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._sums: NDArray[np.float64] = np.zeros(_BINS)
        self._max = -np.inf

    def add(self, values: Float64[np.ndarray, "N"]) -> None:
        """Take values (n,) in; NaN and infinity are left out."""
        values = values[np.isfinite(values)]
        if not len(values):
            return
        with np.errstate(over="ignore"):  # to infinity, the last bin
            bins = np.where(values > 0, values, 0.0).astype(np.float32).view(np.uint32) >> _DROPPED_BITS
        np.add.at(self._counts, bins, 1)
        np.add.at(self._sums, bins, values)
        self._max = max(self._max, float(values.max()))

    def quantiles(self) -> Quantiles | None:
        """None when there were no values."""
        count = int(self._counts.sum())
        if not count:
            return None
        filled = np.flatnonzero(self._counts)
        below = np.cumsum(self._counts[filled])
        means = np.minimum(self._sums[filled] / self._counts[filled], self._max)

        def at(share: float) -> float:
            rank = share * (count - 1)
            low, high = (means[np.searchsorted(below, int(r), side="right")] for r in (rank, np.ceil(rank)))
            return float(low + (rank - int(rank)) * (high - low))

        mean = float(self._sums.sum()) / count
        return Quantiles(count=count, mean=mean, p05=at(0.05), p50=at(0.5), p95=at(0.95), max=self._max)
