"""The 44-keypoint layout of HMR2/HSMR: OpenPose BODY_25 followed by the 19 of SMPL_to_J19."""

from typing import Final

N_KEYPOINTS: Final = 44

PELVIS: Final = 39
"""The pelvis of every 3D loss, fit and error, also by the protocols of H36M and 3DPW: a point of its own, never made of
the hips."""

KEYPOINT_NAMES: Final[tuple[str, ...]] = (
    "nose", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "mid_hip", "r_hip",
    "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "r_eye", "l_eye", "r_ear", "l_ear",
    "l_big_toe", "l_small_toe", "l_heel", "r_big_toe", "r_small_toe", "r_heel",
    "j19_r_ankle", "j19_r_knee", "j19_r_hip", "j19_l_hip", "j19_l_knee", "j19_l_ankle", "j19_r_wrist", "j19_r_elbow",
    "j19_r_shoulder", "j19_l_shoulder", "j19_l_elbow", "j19_l_wrist", "j19_neck", "j19_head_top", "j19_pelvis",
    "j19_thorax", "j19_spine", "j19_jaw", "j19_head",
)  # fmt: skip

UNSCORED: Final[tuple[int, ...]] = (37, 38)
"""Left out of every 2D error and fit, as in HSMR (LSP neck and head top differ between annotators)."""

SCORED: Final[tuple[int, ...]] = tuple(k for k in range(N_KEYPOINTS) if k not in UNSCORED)

MIN_CONFIDENCE: Final = 0.3
"""Below this, or when not finite, a keypoint counts as absent (pipeline.image.confidence)."""

MIN_CONFIDENT_BODY_POINTS: Final = 5
"""Enough keypoints = at least this many distinct confident points among 0-24 (docs/objectives.md)."""

FLIP_PERMUTATION: Final[tuple[int, ...]] = (
    0, 1, 5, 6, 7, 2, 3, 4, 8, 12, 13, 14, 9, 10, 11, 16, 15, 18, 17, 22, 23, 24, 19, 20, 21,
    30, 29, 28, 27, 26, 25, 36, 35, 34, 33, 32, 31, 37, 38, 39, 40, 41, 42, 43,
)  # fmt: skip

TWINS: Final[dict[int, int]] = {
    25: 11, 26: 10, 27: 9, 28: 12, 29: 13, 30: 14, 31: 4, 32: 3, 33: 2, 34: 5, 35: 6, 36: 7, 39: 8,
}  # fmt: skip
"""Points of the J19 layout that name the same place of the body as a point of BODY_25."""

LIMBS: Final[tuple[tuple[int, int], ...]] = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13),
    (13, 14), (0, 15), (0, 16), (15, 17), (16, 18), (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
)  # fmt: skip
"""Edges to draw over the first 25 keypoints."""
