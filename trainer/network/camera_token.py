"""The crop's camera as an input of the decoder: how long the lens is and where in the photo the crop lies.

A crop alone does not tell a near person through a short lens from a far one through a long lens, nor in which direction
its camera looks (CLIFF, arXiv 2208.00571; CameraHMR, arXiv 2411.08128; docs/decisions/0021-camera-token.md).
"""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.image.camera import FOCAL

N_FEATURES: Final = 4


class CropCameras(NamedTuple):
    """The cameras of B crops. focal: in crop units; ray: direction of the crop's middle as seen from the photo's axis,
    rad along the crop's x and y (`pipeline.image.person_camera.PersonCamera.ray`).
    """

    focal: Float[Tensor, "B"]
    ray: Float[Tensor, "B 2"]

    def features(self) -> Float[Tensor, "B 4"]:
        """Numbers of the size of one: log(focal / FOCAL), the ray, and the crop's side over the focal length."""
        return torch.cat([torch.log(self.focal / FOCAL)[:, None], self.ray, self.focal.reciprocal()[:, None]], 1)


class CameraToken(nn.Module):
    """Camera to a token (B, 1, dim) that is added to the decoder's query. Zero at first: the network starts unchanged
    by it.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.hidden = nn.Linear(N_FEATURES, dim)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, cameras: CropCameras) -> Float[Tensor, "B 1 dim"]:
        features = cameras.features().to(self.hidden.weight.dtype)
        return self.out(nn.functional.gelu(self.hidden(features)))[:, None]
