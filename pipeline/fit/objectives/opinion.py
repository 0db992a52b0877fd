"""What somebody thinks a person's q and betas are, and how far off that may be."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Opinion(NamedTuple):
    """q_betas (B, 56): q rad and betas; std (B, 56): one standard deviation of each, infinite where nothing is said; of
    the pelvis, whose three q stand for a turn as a whole, all alike.
    """

    q_betas: Float[Tensor, "B 56"]
    std: Float[Tensor, "B 56"]
