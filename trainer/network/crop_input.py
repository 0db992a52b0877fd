"""What the network is fed: uint8 crops to normalised floats, on the device that computes."""

from typing import Final

from jaxtyping import Float, UInt8
from torch import Tensor

from trainer.network.vit import Patches

IMAGE_MEAN: Final = (0.485, 0.456, 0.406)
IMAGE_STD: Final = (0.229, 0.224, 0.225)
"""Of ImageNet, per RGB channel of an image in [0, 1]."""


def normalise(patches: UInt8[Tensor, "B 3 256 256"], color_scale: Float[Tensor, "B 3"] | None = None) -> Patches:
    """(min(patch * color_scale, 255) / 255 - mean) / std, float32. color_scale is the augmentation, per channel."""
    image = patches.float()
    if color_scale is not None:
        image = (image * color_scale.to(image)[..., None, None]).clamp(0, 255)
    return normalised(image)


def normalised(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """(image / 255 - mean) / std, of RGB from 0 to 255."""
    mean, std = (image.new_tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (image - 255 * mean) / (255 * std)
