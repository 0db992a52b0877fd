"""The normal matrix of a track: block pentadiagonal in the frames, with a border for what all frames share.

Its Cholesky factor keeps the band, so a step and the variances cost time and memory linear in the frames. Frames
couple only through the motion of each unknown, so the blocks beside the diagonal are diagonal themselves: the half
bandwidth is 2 N for N unknowns a frame, where a dense matrix would have T N rows.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import cho_solve_banded, cholesky_banded, solve_triangular


@dataclass(frozen=True)
class BandedNormal:
    """free (T, N): False for the unknowns held at a bound, which couple with nothing.

    band (2 N + 1, T N) lower band of the frames' part; border (T N, S) and shared (S, S) of what they share.
    """

    free: Bool[np.ndarray, "T N"]
    band: Float[np.ndarray, "2*N+1 T*N"]
    border: Float[np.ndarray, "T*N S"]
    shared: Float[np.ndarray, "S S"]

    @classmethod
    def assembled(
        cls,
        blocks: Float[np.ndarray, "T N N"],
        border: Float[np.ndarray, "T N S"],
        shared: Float[np.ndarray, "S S"],
        couplings: Float[np.ndarray, "3 T N"],
        free: Bool[np.ndarray, "T N"],
    ) -> Self:
        """blocks (T, N, N) of each frame, border (T, N, S), shared (S, S), couplings (3, T, N): `MotionPrior.bands`."""
        frames, n, _ = blocks.shape
        band = np.zeros((2 * n + 1, frames, n))
        row, column = np.tril_indices(n)
        entries = blocks.reshape(frames, -1)[:, row * n + column]
        entries *= np.where(row == column, True, free[:, row] & free[:, column])
        band[row - column, :, column] = entries.T
        for apart, coupling in enumerate(couplings):
            both = free[: frames - apart] & free[apart:] if apart else np.ones_like(free)
            band[apart * n, : frames - apart] += coupling[: frames - apart] * both
        return cls(free, band.reshape(2 * n + 1, -1), (border * free[..., None]).reshape(frames * n, -1), shared)

    def step(
        self, gradient: Float[np.ndarray, "T N"], shared_gradient: Float[np.ndarray, "S"], damping: float
    ) -> tuple[Float[np.ndarray, "T N"], Float[np.ndarray, "S"], float]:
        """Damped step of the frames (T, N) and of what they share (S,), and the drop in cost it predicts.

        Zeros where the matrix is not positive. Block elimination: one factorisation serves the step and the border.
        """
        own = np.where(self.free, gradient, 0).reshape(-1)
        damped = self.band.copy()
        damped[0] *= 1 + damping
        try:
            factor = cholesky_banded(damped, overwrite_ab=True, lower=True, check_finite=False)
            right = np.column_stack([own, self.border])
            solved = np.asarray(cho_solve_banded((factor, True), right, overwrite_b=True, check_finite=False))
            complement = self.shared + damping * np.diag(np.diag(self.shared)) - self.border.T @ solved[:, 1:]
            shared = -np.linalg.solve(complement, shared_gradient - self.border.T @ solved[:, 0])
        except np.linalg.LinAlgError:
            return np.zeros(self.free.shape), np.zeros(len(self.shared)), 0.0
        frames = -(solved[:, 0] + solved[:, 1:] @ shared)
        curved = frames @ self._times(frames) + 2 * frames @ self.border @ shared + shared @ self.shared @ shared
        predicted = -2 * (own @ frames + shared_gradient @ shared) - curved
        return frames.reshape(self.free.shape), shared, float(predicted)

    def _times(self, x: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
        total = self.band[0] * x
        for k in range(1, len(self.band)):
            total[k:] += self.band[k, :-k] * x[:-k]
            total[:-k] += self.band[k, :-k] * x[k:]
        return total

    def covariance(self) -> Float[np.ndarray, "3 T N"]:
        """(3, T, N): of each unknown with itself in its frame, the next and the one after, what is shared being known.

        Backward over pairs of frames, whose blocks make the factor L bidiagonal (Takahashi, Fagan and Chen 1973):
        with W = L_next,this L_this^-1, S_next,this = -S_next W and S_this = (L_this L_this^T)^-1 + W^T S_next W.
        Raises numpy.linalg.LinAlgError where the matrix is not positive.
        """
        factor = np.asarray(cholesky_banded(self.band, lower=True, check_finite=False))
        frames, n = self.free.shape
        found, after = np.zeros((3, frames + 1, n)), None
        for first in range(2 * ((frames - 1) // 2), -1, -2):
            diagonal = _block(factor, first * n, 0, n)
            one = np.eye(len(diagonal))
            inverse = np.asarray(solve_triangular(diagonal, one, lower=True, check_finite=False))
            this = inverse.T @ inverse
            if after is not None:
                below = _block(factor, first * n, 2 * n, n)[: len(after)] @ inverse
                across = -after @ below
                this -= below.T @ across
                found[2, first], found[1, first + 1] = across[:n, :n].diagonal(), across[:n, n:].diagonal()
                found[2, first + 1, : len(after) - n] = across[n:, n:].diagonal()
            found[0, first : first + len(this) // n] = this.diagonal().reshape(-1, n)
            found[1, first, : len(this) - n] = this[n:, :n].diagonal()
            after = this
        return found[:, :frames]


def _block(
    factor: Float[np.ndarray, "band columns"], start: int, below: int, n: int
) -> Float[np.ndarray, "rows width"]:
    """Rows start + below + (0 .. 2 n) of the columns start + (0 .. 2 n), as far as the matrix reaches."""
    columns = np.arange(min(2 * n, factor.shape[1] - start))
    rows = np.arange(2 * n if below else len(columns))
    apart = below + rows[:, None] - columns
    inside = (apart >= 0) & (apart < len(factor))
    return np.where(inside, factor[np.where(inside, apart, 0), start + columns], 0.0)
