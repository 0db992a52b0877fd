"""How far off a network's predictions may be, as far as its checkpoint tells."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from jaxtyping import Float, Float32

from schemas.skel import N_BETAS, N_Q
from trainer.checkpoint import CheckpointInfo

UNMEASURED_STD: Final = 0.3  # rad; for checkpoints of others, which do not say how good they are
BETAS_STD: Final = 1.0  # what people differ by


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSpread:
    """one_for_all (56,): standard deviations of q, rad, and betas; factors (56,): by what those of the network's head
    are multiplied, None without a head that was calibrated. told: whether q's come from a measurement.
    """

    one_for_all: Float32[np.ndarray, "56"]
    factors: Float32[np.ndarray, "56"] | None
    told: bool

    @classmethod
    def of(cls, info: CheckpointInfo | None) -> Self:
        """What is not told is UNMEASURED_STD of q, BETAS_STD of betas."""
        q_std, betas_std, factors = ((), (), ()) if info is None else (info.q_std, info.betas_std, info.spread_factors)
        one_for_all = [*(q_std or [UNMEASURED_STD] * N_Q), *(betas_std or [BETAS_STD] * N_BETAS)]
        return cls(
            one_for_all=np.array(one_for_all, np.float32),
            factors=np.array(factors, np.float32) if factors else None,
            told=bool(q_std or factors),
        )

    def of_people(self, stated: Float[np.ndarray, "N 56"] | None, count: int) -> Float32[np.ndarray, "N 56"]:
        """For `count` people. stated: by the head of the network, None without one."""
        if stated is None or self.factors is None:
            return np.tile(self.one_for_all, (count, 1))
        return (stated * self.factors).astype(np.float32)
