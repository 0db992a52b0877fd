"""How far the network's own estimate may be off, for each person, read from the decoder's token.

Trained on the differences that the estimate leaves (Nix & Weigend, 1994), of token and estimate both detached: the
estimate is trained as if there were no such head (docs/decisions/0024-uncertainty.md).
"""

import math
from typing import Final, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from schemas.skel import N_BETAS, N_Q

MIN_STD: Final = 0.01
MAX_STD: Final = 5.0  # rad, or units of betas


class Spread(NamedTuple):
    """One standard deviation of estimate minus truth: q_std (B, 46) rad, betas_std (B, 10), before calibration."""

    q_std: Float[Tensor, "B 46"]
    betas_std: Float[Tensor, "B 10"]


class SpreadHead(nn.Module):
    """The token (B, dim) to a spread between MIN_STD and MAX_STD. A new head says the same, 0.22, of everything."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, N_Q + N_BETAS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, token: Float[Tensor, "B dim"]) -> Spread:
        """No gradient reaches the token."""
        share = self.out(self.norm(token.detach())).sigmoid()
        std = (math.log(MIN_STD) + math.log(MAX_STD / MIN_STD) * share).exp()
        return Spread(std[:, :N_Q], std[:, N_Q:])
