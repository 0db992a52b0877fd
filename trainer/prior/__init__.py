"""The adversarial prior of HMR (Kanazawa et al., CVPR 2018) and HMR2.0, on SKEL poses: off by default.

A discriminator learns to tell predicted joint rotations and shapes from those of motion capture; the network is paid
for not being told apart. For data without labels, where keypoints alone allow poses that no body takes.
"""

from trainer.prior.adversarial_prior import AdversarialPrior, PriorConfig
from trainer.prior.mocap_poses import MocapError, MocapPoses, load_mocap

__all__ = ["AdversarialPrior", "MocapError", "MocapPoses", "PriorConfig", "load_mocap"]
