"""The network's weak-perspective camera (s, tx, ty) as a translation in the crop camera (docs/camera_and_crop.md)."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.image.camera import FOCAL
from pipeline.image.crop import CROP_PX

MIN_SCALE: Final = 0.01
"""Smaller s (a person 4 km away, or behind the camera) counts as this."""


def camera_translation(cam: Float[Tensor, "B 3"], focal: Float[Tensor, "B"] | None = None) -> Float[Tensor, "B 3"]:
    """cam_t = (tx, ty, 2 f / (256 s + 1e-9)) m, f = 256 focal px; focal: crop units, by default f = 5000 px.

    So s is the scale in the crop, whatever the lens: a pixel is 2 / s m at the person.

    s below MIN_SCALE is raised to it, with the gradient passed through: a network that strays there finds back.
    """
    s, tx, ty = cam.unbind(-1)
    s = s + (s.clamp_min(MIN_SCALE) - s).detach()
    return torch.stack([tx, ty, 2 * (FOCAL if focal is None else focal) / (s + 1e-9 / CROP_PX)], -1)
