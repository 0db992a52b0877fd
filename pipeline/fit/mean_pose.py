"""HSMR's mean parameters: where a person without any label starts from.

The numbers are the `head.init_*` buffers of HSMR's released network (MIT licence), stored in mean_parameters.npz.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.body.representation import representation_to_q
from schemas.skel import q_limits

_FILE = Path(__file__).with_name("mean_parameters.npz")


def mean_q() -> Tensor:
    """Mean pose (46,) float64 rad, upright in the camera, moved inside the joint limits (one scapula lies outside)."""
    with np.load(_FILE, allow_pickle=False) as stored:
        q = representation_to_q(torch.as_tensor(stored["poses_rep"], dtype=torch.float64)[None])[0]
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    q[3:] = q[3:].clamp(low[3:], high[3:])
    return q
