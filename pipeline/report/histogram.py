"""Histograms of many rows of values at once, which add up over shards: what a report knows of a column."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Real


@dataclass(frozen=True)
class Histograms:
    """D histograms of as many bins, each over its own range [low, high]; what lies outside is counted in the end bins.

    sums: of the values themselves, which the bins do not round. NaN and infinity are left out.
    """

    low: Float64[np.ndarray, "D"]
    high: Float64[np.ndarray, "D"]
    counts: Int64[np.ndarray, "D bins"]
    sums: Float64[np.ndarray, "D"]

    @classmethod
    def of(
        cls, values: Real[np.ndarray, "N D"], low: Float64[np.ndarray, "D"], high: Float64[np.ndarray, "D"], bins: int
    ) -> "Histograms":
        """Of values (N, D), a histogram of each column."""
        columns = values.shape[1]
        finite = np.isfinite(values)
        known = np.where(finite, values, 0.0).astype(np.float64)
        at = np.clip(np.floor((known - low) / (high - low) * bins), 0, bins - 1).astype(np.int64)
        flat = (np.arange(columns) * bins + at)[finite]
        counts = np.bincount(flat, minlength=columns * bins).reshape(columns, bins).astype(np.int64)
        return cls(low, high, counts, known.sum(0))

    def __add__(self, other: "Histograms") -> "Histograms":
        return Histograms(self.low, self.high, self.counts + other.counts, self.sums + other.sums)

    def people(self, row: int = 0) -> int:
        """How many values there are."""
        return int(self.counts[row].sum())

    def mean(self, row: int = 0) -> float | None:
        """None without values."""
        people = self.people(row)
        return float(self.sums[row]) / people if people else None

    def quantile(self, share: float, row: int = 0) -> float | None:
        """To within a bin, values taken as spread evenly over theirs; None without values."""
        counts = self.counts[row]
        if not counts.any():
            return None
        below = np.concatenate([[0], np.cumsum(counts)])
        wanted = share * below[-1]
        bin = min(int(np.searchsorted(below, wanted, side="right")) - 1, len(counts) - 1)
        while bin > 0 and not counts[bin]:
            bin -= 1
        inside = (wanted - below[bin]) / counts[bin] if counts[bin] else 0.0
        width = (self.high[row] - self.low[row]) / len(counts)
        return float(self.low[row] + (bin + min(inside, 1.0)) * width)

    def coarse(self, edges: Float64[np.ndarray, "edges"], row: int = 0) -> Int64[np.ndarray, "coarse"]:
        """Counts in wider bins between these rising edges; what lies outside goes to the end bins. Exact where the
        edges are edges of fine bins too.
        """
        width = (self.high[row] - self.low[row]) / self.counts.shape[1]
        middles = self.low[row] + (np.arange(self.counts.shape[1]) + 0.5) * width
        at = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, len(edges) - 2)
        return np.bincount(at, weights=self.counts[row], minlength=len(edges) - 1).astype(np.int64)
