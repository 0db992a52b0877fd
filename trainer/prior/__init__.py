"""The adversarial prior of HMR (Kanazawa et al., CVPR 2018) and HMR2.0, on poses of the network's body: off by default.

A discriminator learns to tell predicted joint rotations and shapes from those of motion capture; the network is paid
for not being told apart. For data without labels, where keypoints alone allow poses that no body takes.
"""

from trainer.prior.adversarial_prior import AdversarialPrior, PriorConfig
from trainer.prior.mocap_poses import MocapError, MocapPoses, RealPoses, SmplMocapPoses, load_mocap, load_smpl_mocap

__all__ = [
    "AdversarialPrior",
    "MocapError",
    "MocapPoses",
    "PriorConfig",
    "RealPoses",
    "SmplMocapPoses",
    "load_mocap",
    "load_smpl_mocap",
]
