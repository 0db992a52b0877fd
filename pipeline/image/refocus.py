"""What people's own cameras would see if the photo's lens had another focal length."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pipeline.image.person_camera import MIN_RAY_DEPTH, shortest_turns


class Refocused(NamedTuple):
    """keypoints (N, 44, 3) crop units and confidence; focal (N,) crop units; rotation (N, 3, 3) to the photo's axes."""

    keypoints: Float[np.ndarray, "N 44 3"]
    focal: Float[np.ndarray, "N"]
    rotation: Float[np.ndarray, "N 3 3"]


def refocused(
    keypoints: Float[np.ndarray, "N 44 3"],
    focal: Float[np.ndarray, "N"],
    rotation: Float[np.ndarray, "N 3 3"],
    factor: Float[np.ndarray, "N"],
) -> Refocused:
    """The same photos through lenses `factor` times as long, whose axes meet the photo where they did; no distortion.

    The photo is not needed: places on it, in units of the crop's side from the lens's axis, follow from the camera
    that the keypoints were seen by.
    """
    places = _on_photo(keypoints[..., :2], focal, rotation)
    middles = _on_photo(np.zeros((len(focal), 1, 2)), focal, rotation)[:, 0]
    longer = focal * factor
    turned = shortest_turns(_rays(middles, longer[:, None]))
    seen = _rays(places, longer[:, None, None]) @ turned
    crop = longer[:, None, None] * seen[..., :2] / np.maximum(seen[..., 2:], MIN_RAY_DEPTH)
    return Refocused(np.concatenate([crop, keypoints[..., 2:]], -1), longer, turned)


def _on_photo(crop: np.ndarray, focal: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    rays = _rays(crop, focal[:, None, None]) @ rotation.transpose(0, 2, 1)
    return focal[:, None, None] * rays[..., :2] / np.maximum(rays[..., 2:], MIN_RAY_DEPTH)


def _rays(places: np.ndarray, focal: np.ndarray) -> np.ndarray:
    flat = places / focal
    return np.concatenate([flat, np.ones_like(flat[..., :1])], -1)
