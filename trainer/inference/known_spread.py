"""How far off a network's predictions may be, as far as its checkpoint tells."""

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from jaxtyping import Float, Float32

from schemas.skel import N_BETAS, N_Q
from trainer.checkpoint import CheckpointInfo

UNMEASURED_STD: Final = 0.3  # rad; for checkpoints of others, which do not say how good they are
BETAS_STD: Final = 1.0  # what people differ by
SAYS_NOTHING: Final = 30.0  # a standard deviation, rad or betas, that weighs nothing beside any other evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSpread:
    """Standard deviations for everyone, q_std (46,) rad and betas_std (10,); factors (46,): by what those of q that the
    network's head states are multiplied, None without a head that was calibrated. population_std (56,): what people
    differ by, infinite where nobody measured. told: whether q's were measured.
    """

    q_std: Float32[np.ndarray, "46"]
    betas_std: Float32[np.ndarray, "10"]
    factors: Float32[np.ndarray, "46"] | None
    population_std: Float32[np.ndarray, "56"]
    told: bool

    @classmethod
    def of(cls, info: CheckpointInfo | None) -> Self:
        """What is not told is UNMEASURED_STD of q, BETAS_STD of betas."""
        q_std, betas_std, factors = ((), (), ()) if info is None else (info.q_std, info.betas_std, info.spread_factors)
        return cls(
            q_std=np.array(q_std or [UNMEASURED_STD] * N_Q, np.float32),
            betas_std=np.array(betas_std or [BETAS_STD] * N_BETAS, np.float32),
            factors=np.array(factors, np.float32) if factors else None,
            population_std=np.array((info and info.population_std) or [np.inf] * (N_Q + N_BETAS), np.float32),
            told=bool(q_std or factors),
        )

    def of_unseen(self) -> Self:
        """The same of people whom the network was not trained on: it is taken at its word (decision 0024)."""
        return replace(self, population_std=np.full_like(self.population_std, np.inf))

    def of_people(self, stated: Float[np.ndarray, "N 46"] | None, count: int) -> Float32[np.ndarray, "N 46"]:
        """q_std of `count` people. stated: by the head of the network, None without one."""
        if stated is None or self.factors is None:
            return np.tile(self.q_std, (count, 1))
        return (stated * self.factors).astype(np.float32)

    def news(
        self, q_std: Float32[np.ndarray, "N 46"], betas_std: Float32[np.ndarray, "10"]
    ) -> tuple[Float32[np.ndarray, "N 46"], Float32[np.ndarray, "10"]]:
        """Standard deviations of what these predictions tell beyond what is known of anybody: 1 / std^2 less that of
        the population, at most SAYS_NOTHING.

        Of people whom it was trained on, a network repeats the errors of their labels in part, which no measure on
        people held out tells. So it counts for less there (decision 0024).
        """
        return _beyond(q_std, self.population_std[:N_Q]), _beyond(betas_std, self.population_std[N_Q:])


def _beyond(std: np.ndarray, population: np.ndarray) -> np.ndarray:
    precision = np.maximum(std.astype(np.float64) ** -2 - population.astype(np.float64) ** -2, SAYS_NOTHING**-2)
    return (precision**-0.5).astype(np.float32)
