"""Which of SKEL's angles the motion tells anything of, what is believed of the others, and left exchanged for right."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.fit.starts.mean_pose import mean_q
from schemas.skel import N_UNLIMITED, Q_NAMES, mirror_table, q_limits
from tools.pose_prior.bone_directions import AngleBelief

_UNSEEN: Final = ("subtalar", "mtp", "scapula", "pro_sup", "wrist")
TOLD: Final = [index for index, name in enumerate(Q_NAMES) if index >= N_UNLIMITED and not name.startswith(_UNSEEN)]
"""The 27 angles that both sources tell: hips, knees, ankles, loin, chest, head, shoulders, elbows. Of the others at
least one source knows nothing: hands, forearm twist and shoulder blades stay still in both, toes and heels in one.
"""
BROAD_STD: Final = 0.5  # rad, less for joints with a small range
_HELD_STD: Final = 0.02  # rad; a shoulder blade moved by chance would turn up in the shoulder's angles


def prior_mirror() -> tuple[np.ndarray, np.ndarray]:
    """Left/right mirror of q, `sign * q[source]`, that keeps legal angles legal.

    As `mirror_table`, but the elevation of the shoulder blades keeps its sign: both limits are [-0.4, -0.1] rad, so the
    true mirror image of a legal elevation is illegal.
    """
    source, sign = mirror_table()
    sign[[Q_NAMES.index("scapula_elevation_r"), Q_NAMES.index("scapula_elevation_l")]] = 1
    return source, sign


def broad_belief() -> AngleBelief:
    """What is believed of every angle without any motion: the mean pose made symmetric, 0.5 rad or a third of range."""
    source, sign = prior_mirror()
    q = mean_q()
    mean = (q + torch.as_tensor(sign) * q[source]) / 2
    mean[:N_UNLIMITED] = 0
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    std = BROAD_STD * ((high - low) / 1.5).clamp_max(1.0)
    return AngleBelief(mean, (std + std[source]) / 2)


def conversion_belief() -> AngleBelief:
    """The same with the shoulder blades held still."""
    broad = broad_belief()
    scapula = torch.tensor([name.startswith("scapula") for name in Q_NAMES])
    return AngleBelief(broad.mean, torch.where(scapula, _HELD_STD, broad.std))


def mirrored(q: Tensor) -> Tensor:
    """The mirror image of poses (B, 46)."""
    source, sign = prior_mirror()
    return torch.as_tensor(sign).to(q) * q[:, source]
