"""Extreme crops: the box left when only a part of the body is to be seen, as HMR2.0 and HSMR train (tests/golden).

A crop boxes the keypoints of its part with a margin. Which crop is taken depends on what the photo shows of the person
and on a number drawn from [0, 1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64

from pipeline.image.confidence import counted_points
from schemas.keypoints import KEYPOINT_NAMES, N_KEYPOINTS

MIN_SIDE_PX: Final = 4.0
"""A crop below this is not taken."""
_MARGIN: Final = 1.2  # of every box; a crop has its own on top
_MIN_CONFIDENCE_SUM: Final = 1.0


@dataclass(frozen=True, slots=True)
class Box:
    """`center` (2,) and `size` (2,) (width, height) in photo px."""

    center: Float64[np.ndarray, "2"]
    size: Float64[np.ndarray, "2"]


@dataclass(frozen=True, slots=True)
class PartCrop:
    """Box of `keypoints`, `margin` times as large."""

    keypoints: tuple[int, ...]
    margin: float

    def __call__(self, keypoints_2d: Float[np.ndarray, "44 3"], box: Box) -> Box:
        """The part's box; `box` itself when the photo shows too little of the part. keypoints_2d (44, 3) photo px."""
        points = keypoints_2d[list(self.keypoints)].astype(np.float64)
        if points[:, 2].sum() <= _MIN_CONFIDENCE_SUM:
            return box
        seen = points[points[:, 2] > 0, :2]
        low, high = seen.min(0), seen.max(0)
        return Box((low + high) / 2, (high - low) * _MARGIN * self.margin)


def _named(*names: str) -> tuple[int, ...]:
    """Keypoints of these names in both blocks of the layout."""
    return tuple(k for k, name in enumerate(KEYPOINT_NAMES) if name.removeprefix("j19_") in names)


def _without(*removed: Iterable[int]) -> tuple[int, ...]:
    gone = {k for part in removed for k in part}
    return tuple(k for k in range(N_KEYPOINTS) if k not in gone)


_RIGHT_ARM = _named("r_shoulder", "r_elbow", "r_wrist")
_LEFT_ARM = _named("l_shoulder", "l_elbow", "l_wrist")
_RIGHT_LEG = _named("r_hip", "r_knee", "r_ankle", "r_big_toe", "r_small_toe", "r_heel")
_LEFT_LEG = _named("l_hip", "l_knee", "l_ankle", "l_big_toe", "l_small_toe", "l_heel")
_HIPS = _named("mid_hip", "r_hip", "l_hip", "pelvis")
_SHOULDERS = _named("r_shoulder", "l_shoulder")
_J19_SHOULDERS = tuple(k for k in _SHOULDERS if KEYPOINT_NAMES[k].startswith("j19_"))
_TRUNK = _named("thorax", "spine")
_BELOW_HIPS = tuple(k for k in _RIGHT_LEG + _LEFT_LEG if k not in _HIPS)
_ARMS_BELOW_SHOULDERS = tuple(k for k in _RIGHT_ARM + _LEFT_ARM if k not in _SHOULDERS)
_TO_SHOULDERS = _without(_RIGHT_LEG, _LEFT_LEG, _HIPS, _TRUNK, _ARMS_BELOW_SHOULDERS)

EXTREME_CROPS: Final[dict[str, PartCrop]] = {
    "to_hips": PartCrop(_without(_BELOW_HIPS), 1.1),
    "to_shoulders": PartCrop(_TO_SHOULDERS, 1.2),
    # The original keeps the OpenPose shoulders here and drops those of the other block.
    "to_head": PartCrop(tuple(k for k in _TO_SHOULDERS if k not in _J19_SHOULDERS), 1.3),
    "torso": PartCrop((*_named("neck"), *_SHOULDERS, *_HIPS, *_TRUNK), 1.1),
    "right_arm": PartCrop(_RIGHT_ARM, 1.1),
    "left_arm": PartCrop(_LEFT_ARM, 1.1),
    "legs": PartCrop((*_RIGHT_LEG, *_LEFT_LEG, *_HIPS), 1.1),
    "right_leg": PartCrop(_RIGHT_LEG, 1.1),
    "left_leg": PartCrop(_LEFT_LEG, 1.1),
}
"""The nine crops, in the order in which the drawn number counts through them."""

_OF_WHOLE_BODY: Final = (
    ("to_hips", 0.2), ("to_shoulders", 0.3), ("to_head", 0.4), ("torso", 0.5), ("right_arm", 0.6), ("left_arm", 0.7),
    ("legs", 0.8), ("right_leg", 0.9), ("left_leg", 1.0),
)  # fmt: skip
_OF_UPPER_BODY: Final = (
    ("to_shoulders", 0.2), ("to_head", 0.4), ("torso", 0.6), ("right_arm", 0.8), ("left_arm", 1.0)
)  # fmt: skip
_LIMB_JOINTS: Final = tuple(
    _named(f"{side}_{joint}") for side in "rl" for joint in ("shoulder", "elbow", "wrist", "knee", "ankle")
)
_KNEES_AND_ANKLES: Final = _named("r_knee", "r_ankle", "l_knee", "l_ankle")
_HEAD: Final = _named("nose", "neck", "r_eye", "l_eye", "r_ear", "l_ear", "head_top", "head")


def extreme_crop(keypoints_2d: Float[np.ndarray, "44 3"], box: Box, drawn: float) -> Box:
    """The square box of the crop that `drawn` in [0, 1) picks for this person; `box`, made square, when none fits.

    keypoints_2d (44, 3): photo px and confidence, whose absent points show nothing. A whole body may be cut to any
    part, an upper body to what it has; other people stay as they are.
    """
    keypoints_2d, picked = counted_points(keypoints_2d), box
    for name, below in _choices(keypoints_2d[:, 2] > 0):
        if drawn < below:
            picked = EXTREME_CROPS[name](keypoints_2d, box)
            break
    if picked.size.max() < MIN_SIDE_PX:
        picked = box
    return Box(picked.center, np.full(2, picked.size.max()))


def _choices(seen: Bool[np.ndarray, "44"]) -> tuple[tuple[str, float], ...]:
    """(crop, upper end of its interval of drawn numbers) for what is seen (44,) of the person."""
    if is_whole_body(seen):
        return _OF_WHOLE_BODY
    return _OF_UPPER_BODY if is_upper_body(seen) else ()


def is_whole_body(seen: Bool[np.ndarray, "44"]) -> bool:
    """Every shoulder, elbow, wrist, knee and ankle is seen, in one block of the layout or the other."""
    return all(seen[list(joint)].any() for joint in _LIMB_JOINTS)


def is_upper_body(seen: Bool[np.ndarray, "44"]) -> bool:
    """No knee or ankle, but at least two points of head and neck."""
    return not seen[list(_KNEES_AND_ANKLES)].any() and int(seen[list(_HEAD)].sum()) >= 2
