"""HSMR's mean parameters: where a person without any label starts from.

The numbers are the `head.init_*` buffers of HSMR's released network (MIT licence), stored in mean_parameters.npz.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.representation import representation_to_q
from schemas.skel import Q_NAMES, q_limits

_FILE = Path(__file__).with_name("mean_parameters.npz")


class MeanParameters(NamedTuple):
    """As stored, float32: representation (24, 6), betas (10,), cam (3,) = (s, tx, ty)."""

    representation: Float[Tensor, "24 6"]
    betas: Float[Tensor, "10"]
    cam: Float[Tensor, "3"]


def mean_parameters() -> MeanParameters:
    """What the network's outputs are added to."""
    with np.load(_FILE, allow_pickle=False) as stored:
        return MeanParameters(*(torch.as_tensor(stored[name]) for name in ("poses_rep", "betas", "cam")))


def mean_q() -> Float[Tensor, "46"]:
    """Mean pose (46,) float64 rad, upright in the camera, moved inside the joint limits (one scapula lies outside)."""
    q = representation_to_q(mean_parameters().representation.double()[None])[0]
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    q[3:] = q[3:].clamp(low[3:], high[3:])
    return q


def folded_q() -> Float[Tensor, "46"]:
    """The mean pose (46,) sitting and bent forward: far enough from upright that no fit gets from one to the other."""
    q = mean_q()
    folded = {"hip_flexion_r": 1.7, "hip_flexion_l": 1.7, "knee_angle_r": 0.2, "knee_angle_l": 0.2,
              "lumbar_extension": -0.4, "thorax_extension": -0.4}  # fmt: skip
    for name, angle in folded.items():
        q[Q_NAMES.index(name)] = angle
    return q
