"""How a person's angles and camera may accelerate: white noise whose strength the track itself tells.

  sum_tj (h_t / UNIT) a_tj^2 / std_tj^2     a_t: second derivative at frame t from three frames, h_t s: their mean gap

so that an acceleration over twice the time costs twice as much, whatever the frame rate. std_tj = std_j / sqrt(w_tj):
one scale for each unknown, and a weight for each moment, since a kick is a burst in a leg that otherwise moves evenly.
Both come by expectation-maximisation (Student's t as a scale mixture; Liu and Rubin 1995) from E[a^2] under the
posterior, that is from the accelerations found and their variance: the found ones alone are too smooth.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Float

UNIT = 1 / 60
"""Seconds: the stds are those of accelerations that are independent from one UNIT to the next."""

_LONGEST_GAP = 1 / 8  # s; frames further apart say nothing of accelerations: people do not drift for so long
_FREEDOM = 1.0  # of Student's t for one moment of one unknown
_WINDOW = 5  # frames that share a weight, for a burst lasts longer than one frame
_GUESSED_ROWS = 3.0  # accelerations that the guess for an unknown's std counts for


@dataclass(frozen=True)
class MotionPrior:
    """Of T frames, R = T - 2 accelerations and N unknowns: stencil 1/s^2 of the second derivative, gap h s, the guessed
    std per s^2, the std and weights in force.
    """

    stencil: Float[np.ndarray, "3 R"]
    gap: Float[np.ndarray, "R"]
    guess: Float[np.ndarray, "N"]
    std: Float[np.ndarray, "N"]
    weight: Float[np.ndarray, "R N"]

    @classmethod
    def guessed(cls, times: Float[np.ndarray, "T"], std: Float[np.ndarray, "N"]) -> Self:
        """The same std (N,) throughout; times (T,) s, ascending."""
        before, after = np.diff(times)[:-1], np.diff(times)[1:]
        gap = (before + after) / 2
        stencil = np.stack([1 / (before * gap), -(1 / before + 1 / after) / gap, 1 / (after * gap)])
        return cls(stencil, gap, std, std, np.ones((len(gap), len(std))))

    @property
    def frames(self) -> int:
        return len(self.gap) + 2

    @property
    def precision(self) -> Float[np.ndarray, "R N"]:
        """Of the accelerations."""
        return (self.gap / UNIT)[:, None] * self.weight / self.std**2

    def acceleration(self, moves: Float[np.ndarray, "moves N"]) -> Float[np.ndarray, "moves-1 N"]:
        """Second derivatives (T-2, N) from the moves (T-1, N) between neighbouring frames."""
        return self.stencil[2][:, None] * moves[1:] - self.stencil[0][:, None] * moves[:-1]

    def cost(self, acceleration: Float[np.ndarray, "R N"]) -> float:
        return float((self.precision * acceleration**2).sum())

    def shares(self, acceleration: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R+2"]:
        """The cost by frame (T,): an acceleration is that of its middle frame; the ends have none."""
        return np.pad((self.precision * acceleration**2).sum(1), 1)

    def gradient(self, acceleration: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R+2 N"]:
        """Half the cost's gradient in the unknowns, (T, N)."""
        pull = self.precision * acceleration
        total = np.zeros((self.frames, pull.shape[1]))
        for k in range(3):
            total[k : k + len(pull)] += self.stencil[k, :, None] * pull
        return total

    def bands(self) -> Float[np.ndarray, "3 T N"]:
        """(3, T, N): how an unknown couples with itself in its frame, the next and the one after; zeros at the end."""
        precision, rows = self.precision, len(self.gap)
        bands = np.zeros((3, self.frames, precision.shape[1]))
        for k in range(3):
            for later in range(k, 3):
                bands[later - k, k : k + rows] += precision * (self.stencil[k] * self.stencil[later])[:, None]
        return bands

    def acceleration_variance(self, covariance: Float[np.ndarray, "3 T N"]) -> Float[np.ndarray, "T-2 N"]:
        """(T-2, N) from the covariances (3, T, N) of an unknown with itself, as `bands` has them."""
        rows = len(self.gap)
        total = np.zeros((rows, covariance.shape[2]))
        for k in range(3):
            for later in range(k, 3):
                twice = 1 if k == later else 2
                product = twice * self.stencil[k] * self.stencil[later]
                total += product[:, None] * covariance[later - k, k : k + rows]
        return total

    def reestimated(self, acceleration: Float[np.ndarray, "R N"], variance: Float[np.ndarray, "R N"]) -> Self:
        """The std and weights that E[a^2] = acceleration^2 + variance (T-2, N) makes most likely."""
        squares = (self.gap / UNIT)[:, None] * (acceleration**2 + variance)
        tells = (self.gap <= _LONGEST_GAP)[:, None]
        rows = float(tells.sum()) + _GUESSED_ROWS
        std = np.sqrt(((tells * self.weight * squares).sum(0) + _GUESSED_ROWS * self.guess**2) / rows)
        around, count = _windowed(tells * squares), _windowed(tells * np.ones_like(squares))
        weight = (_FREEDOM + count) / (_FREEDOM + around / std**2)
        return replace(self, std=std, weight=np.where(tells, weight, 1.0))


def _windowed(x: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R N"]:
    """Sums over _WINDOW neighbouring rows."""
    sums = np.cumsum(np.pad(x, ((1 + _WINDOW // 2, _WINDOW // 2), (0, 0))), 0)
    return sums[_WINDOW:] - sums[:-_WINDOW]
