"""The discriminator of HMR: one score per joint, one for the whole pose, one for the shape."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.body.representation import Rotations
from schemas.skel import N_BETAS, N_JOINTS

_FEATURES, _HIDDEN = 32, 1024


class Discriminator(nn.Module):
    """Joint rotations Rp (B, 24, 3, 3) and betas (B, 10) to scores (B, 25): towards 1 for real, 0 for predicted.

    Scores 0..22 judge joints 1..23 alone, 23 the whole pose, 24 the shape. The pelvis is not looked at.
    """

    def __init__(self) -> None:
        super().__init__()
        joints = N_JOINTS - 1
        self.features = nn.Sequential(_perceptron(9, _FEATURES, _FEATURES), nn.ReLU())
        self.joint_weight = nn.Parameter(torch.randn(joints, _FEATURES) / _FEATURES**0.5)
        self.joint_bias = nn.Parameter(torch.zeros(joints))
        self.pose = nn.Sequential(
            nn.Linear(joints * _FEATURES, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, 1),
        )
        self.shape = nn.Sequential(nn.Linear(N_BETAS, 10), nn.ReLU(), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, rotations: Rotations, betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 25"]:
        features = self.features(rotations[:, 1:].flatten(-2))
        joints = (features * self.joint_weight).sum(-1) + self.joint_bias
        return torch.cat([joints, self.pose(features.flatten(1)), self.shape(betas)], 1)


def _perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for inputs, outputs in pairwise(widths[1:]):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)
