"""How a person is augmented: draws that depend on (seed, epoch, identity, how many-th draw) alone, and their crops.

The distributions: docs/objectives.md, training losses.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from schemas.person import PersonId
from trainer.data.extreme_crop import Box, extreme_crop
from trainer.data.patch import CropTransform, crop_transform


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Ranges and probabilities of HSMR; N is standard normal, clipped to +-1 (rotation: +-2).

    scale: side x (1 + scale N). rotation_deg N, with probability rotation_p. shift: share of the box per axis, times N.
    color: each channel x U(1 - color, 1 + color). enabled=False: every crop as it is.
    """

    enabled: bool = True
    scale: float = 0.3
    rotation_deg: float = 30.0
    rotation_p: float = 0.6
    shift: float = 0.02
    color: float = 0.2
    flip_p: float = 0.5
    extreme_p: float = 0.1

    def __post_init__(self) -> None:
        for name in ("rotation_p", "flip_p", "extreme_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name}={getattr(self, name)}: a probability in [0, 1] expected.")
        for name in ("scale", "color"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"augment.{name}={getattr(self, name)}: a number in [0, 1) expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What was drawn for a person. shift (2,): share of the box; extreme: picks the extreme crop, None for none."""

    scale: float
    rotation_deg: float
    shift: tuple[float, float]
    color_scale: tuple[float, float, float]
    flip: bool
    extreme: float | None


PLAIN: Final = Augmentation(
    scale=1.0, rotation_deg=0.0, shift=(0.0, 0.0), color_scale=(1.0, 1.0, 1.0), flip=False, extreme=None
)


def no_augmentation(id: PersonId) -> Augmentation:
    """Of everybody, for validation and prediction."""
    return PLAIN


def draw(config: AugmentConfig, seed: int, epoch: int, id: PersonId, number: int) -> Augmentation:
    """The augmentation of a person who is drawn for the `number`-th time (from 0) in an epoch.

    Every number is drawn, used or not: a change of one probability leaves the other draws alone.
    """
    if not config.enabled:
        return PLAIN
    rng = _generator(seed, epoch, id, number)
    normal = rng.standard_normal(4)
    uniform = rng.random(7)
    scale, shift_x, shift_y = np.clip(normal[:3], -1, 1).tolist()
    color = 1 + config.color * (2 * uniform[4:] - 1)
    return Augmentation(
        scale=1 + config.scale * scale,
        rotation_deg=config.rotation_deg * float(np.clip(normal[3], -2, 2)) if uniform[0] < config.rotation_p else 0.0,
        shift=(config.shift * shift_x, config.shift * shift_y),
        color_scale=(float(color[0]), float(color[1]), float(color[2])),
        flip=bool(uniform[1] < config.flip_p),
        extreme=float(uniform[3]) if uniform[2] < config.extreme_p else None,
    )


def augmented_crop(
    augmentation: Augmentation, keypoints_2d: Float[np.ndarray, "44 3"], center: Float[np.ndarray, "2"], side: float
) -> CropTransform:
    """The crop of a person with keypoints (44, 3), centre (2,) and side in photo px.

    Order of tests/golden/crops.npz: extreme crop of the person as in the photo, shift by a share of that box, then
    mirror, scale and rotation.
    """
    box = Box(np.asarray(center, np.float64), np.full(2, float(side)))
    if augmentation.extreme is not None:
        box = extreme_crop(keypoints_2d, box, augmentation.extreme)
    side = float(box.size[0])
    return crop_transform(
        box.center + np.array(augmentation.shift) * side,
        side,
        scale=augmentation.scale,
        rotation_deg=augmentation.rotation_deg,
        mirrored=augmentation.flip,
    )


def _generator(seed: int, epoch: int, id: PersonId, number: int) -> np.random.Generator:
    """Counter-based generator keyed by a digest: no state is shared between people, ranks or workers."""
    text = "\x1f".join((str(seed), str(epoch), id.dataset, id.shard, id.key, str(id.person), str(number)))
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
