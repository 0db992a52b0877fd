"""How the crops of a batch show their people: what their labels have to be turned and mirrored by."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64


class ShownCrops(NamedTuple):
    """flip (B,): mirrored; rotation (B,): in the image plane, rad; turn (B, 3, 3): before both, from the axes in which
    a label holds to those of the crop's upright camera, None for a network that knows HSMR's camera alone.
    """

    flip: Bool[np.ndarray, "B"]
    rotation: Float64[np.ndarray, "B"]
    turn: Float64[np.ndarray, "B 3 3"] | None
