"""How far detected keypoints lie from a body's own, as measured on real footage (docs/keypoint_noise.md).

The numbers are in keypoint_noise.json, made by `tools.keypoint_noise.build`.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.image.keypoint_error import usable_confidence
from schemas.keypoints import KEYPOINT_NAMES, TWINS

NOISE_FILE: Final = Path(__file__).with_name("keypoint_noise.json")

_R_HIP, _L_HIP, _MID_HIP, _NECK = 9, 12, 8, 1
_COPIES: Final = {**TWINS, 40: 1}
"""Which BODY_25 point a J19 point may be a copy of: its twin, and the middle of the shoulders."""


@dataclass(frozen=True)
class KeypointNoise:
    """std (44,): crop units a coordinate, of a point of confidence 1, all errors together; measured (44,): False where
    nobody saw the point and the others' mean stands in; offset (44, 3) m in `trunk_frame`: from the body's keypoint to
    where detectors put it, zero where the views do not agree on it; beside_offset (44,): std of the rest.
    """

    std: Float[Tensor, "44"]
    measured: Bool[Tensor, "44"]
    offset: Float[Tensor, "44 3"]
    beside_offset: Float[Tensor, "44"]


@cache
def keypoint_noise() -> KeypointNoise:
    """The stored one, float64. Raises FileNotFoundError when the package lacks it."""
    rows = json.loads(NOISE_FILE.read_text(encoding="utf-8"))["keypoints"]
    if [row["name"] for row in rows] != list(KEYPOINT_NAMES):
        raise ValueError(f"{NOISE_FILE} does not list the 44 keypoints in their order.")
    numbers = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in _NUMBERS}
    measured = torch.tensor([row["points"] > 0 for row in rows])
    return KeypointNoise(measured=measured, **numbers)


_NUMBERS: Final = ("std", "offset", "beside_offset")


def counted_once(keypoints: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B 44"]:
    """Usable confidence (B, 44), halved for both points where the J19 one stands exactly where the BODY_25 one does.

    Data sets fill the second layout with copies of the first: one detection must not count as two.
    """
    copies, originals = list(_COPIES), list(_COPIES.values())
    confidence = usable_confidence(keypoints)
    same = (keypoints[:, copies, :2] == keypoints[:, originals, :2]).all(-1)
    same &= (confidence[:, copies] > 0) & (confidence[:, originals] > 0)
    share = torch.ones_like(confidence)
    share[:, copies] = share[:, originals] = 1 - same.to(confidence) / 2
    return confidence * share


def trunk_frame(points: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B 3 3"]:
    """Columns: to the person's left along the hips, up the trunk, forward; from the 44 keypoints of bodies, m."""
    left = _unit(points[:, _L_HIP] - points[:, _R_HIP])
    up = points[:, _NECK] - points[:, _MID_HIP]
    up = _unit(up - (up * left).sum(-1, keepdim=True) * left)
    return torch.stack([left, up, torch.linalg.cross(left, up)], -1)


def as_detectors_mean_them(points: Float[Tensor, "B 44 3"]) -> Float[Tensor, "B 44 3"]:
    """Keypoints of bodies, m, moved to where detectors put points of that name."""
    return points + keypoint_noise().offset.to(points) @ trunk_frame(points).mT


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-9)
