"""How far the network's own estimate may be off, for each person, read from the decoder's token.

Trained on the differences that the estimate leaves (Nix & Weigend, 1994), of token and estimate both detached: the
estimate is trained as if there were no such head (docs/decisions/0024-uncertainty.md).
"""

import math
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn

from schemas.skel import N_Q

MIN_STD: Final = 0.01
MAX_STD: Final = 5.0  # rad

QStd = Float[Tensor, "B 46"]


class SpreadHead(nn.Module):
    """The token (B, dim) to the standard deviation of estimate minus truth of each q, (B, 46) rad between MIN_STD and
    MAX_STD, before calibration. A new head says the same, 0.22 rad, of everything.

    Betas have none: what a head said of them told nothing of their error (docs/decisions/0024-uncertainty.md).
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, N_Q)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, token: Float[Tensor, "B dim"]) -> QStd:
        """No gradient reaches the token."""
        share = self.out(nn.functional.gelu(self.hidden(self.norm(token.detach())))).sigmoid()
        return (math.log(MIN_STD) + math.log(MAX_STD / MIN_STD) * share).exp()
