"""Skinning weights of the SMPL and SKEL trees, made from one set of MakeHuman weights so that the two agree."""

import re
from itertools import pairwise

import numpy as np
from scipy import sparse

from tools.open_body.anatomy import SKEL_MIRROR, SKEL_NAMES, SMPL_MIRROR, SMPL_NAMES
from tools.open_body.landmarks import Numbering
from tools.open_body.makehuman import Rig

LIMB_BONES = {  # our part -> MakeHuman bones of the left side
    "collar": r"clavicle|shoulder01",
    "shoulder": r"upperarm0[12]",
    "elbow": r"lowerarm0[12]",
    "wrist": r"wrist|metacarpal\d|finger1-1",
    "hand": r"finger(1-[23]|[2-5]-[123])",
    "hip": r"upperleg0[12]",
    "knee": r"lowerleg0[12]",
    "ankle": r"foot",
    "foot": r"toe\d-\d",
}
TRUNK, NECK = r"root|spine0\d|pelvis|breast", r"neck0\d"
SMPL_SPINE = {"spine1": 0.085, "spine2": 0.085, "spine3": 0.075}  # half widths of the blends along the spine, m
SKEL_SPINE_HALF_WIDTH = {"lumbar_body": 0.12, "thorax": 0.105}
NECK_HEAD_SHARE = (0.35, 1.0)  # SKEL head's share at the neck's base and at the skull
RADIUS_SPAN = (0.05, 0.95)  # along the forearm; ulna before, radius after
SMOOTHING_STEPS = 6
LEAST_WEIGHT = 0.004


def part_weights(rig: Rig, numbering: Numbering) -> dict[str, np.ndarray]:
    """MakeHuman weights (6890,) summed per limb part and side ('collar.L', ...), 'trunk', 'neck' and 'skull'."""
    weights = rig.weights[numbering.base_ids]

    def total(pattern: str) -> np.ndarray:
        return weights[:, [bool(re.fullmatch(pattern, name)) for name in rig.names]].sum(1)

    parts = {f"{part}.{s}": total(rf"({bones})\.{s}") for part, bones in LIMB_BONES.items() for s in "LR"}
    parts |= {"trunk": total(rf"({TRUNK})(\.[LR])?"), "neck": total(NECK)}
    return parts | {"skull": np.clip(1 - sum(parts.values()), 0, 1)}


def smpl_weights(parts: dict[str, np.ndarray], template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(6890, 24) weights before smoothing; `joints` (24, 3) are SMPL's, m."""
    weights = np.zeros((len(template), 24))
    for name, column in zip(SMPL_NAMES, range(24), strict=True):
        side, _, part = name.partition("_")
        if part:
            weights[:, column] = parts[f"{part}.{side[0].upper()}"]
    reached = [_rise(template[:, 1], joints[SMPL_NAMES.index(n), 1], w) for n, w in SMPL_SPINE.items()]
    chain = ("pelvis", *SMPL_SPINE)
    for name, share in zip(chain, _shares(reached), strict=True):
        weights[:, SMPL_NAMES.index(name)] += parts["trunk"] * share
    weights[:, SMPL_NAMES.index("neck")] += parts["neck"]
    weights[:, SMPL_NAMES.index("head")] += parts["skull"]
    return weights


def skel_weights(parts: dict[str, np.ndarray], template: np.ndarray, smpl: np.ndarray, skel: np.ndarray) -> np.ndarray:
    """(6890, 24) weights before smoothing; `smpl` and `skel` (24, 3) are joint centres, m."""
    weights = np.zeros((len(template), 24))
    for side, letter in (("l", "L"), ("r", "R")):
        _add_limbs(weights, {k[:-2]: v for k, v in parts.items() if k.endswith(letter)}, side, template, skel)
    height = template[:, 1]
    pivots = {"lumbar_body": 0.5 * (skel[0, 1] + skel[11, 1]), "thorax": 0.5 * (skel[11, 1] + skel[12, 1])}
    reached = [_rise(height, pivots[n], w) for n, w in SKEL_SPINE_HALF_WIDTH.items()]
    for name, share in zip(("pelvis", "lumbar_body", "thorax"), _shares(reached), strict=True):
        weights[:, SKEL_NAMES.index(name)] += parts["trunk"] * share
    base, top = smpl[SMPL_NAMES.index("neck"), 1] - 0.03, smpl[SMPL_NAMES.index("head"), 1]
    low, high = NECK_HEAD_SHARE
    up = low + (high - low) * _rise(height, 0.5 * (base + top), 0.5 * (top - base))
    weights[:, SKEL_NAMES.index("head")] += parts["skull"] + parts["neck"] * up
    weights[:, SKEL_NAMES.index("thorax")] += parts["neck"] * (1 - up)
    return weights


def _add_limbs(
    weights: np.ndarray, parts: dict[str, np.ndarray], side: str, template: np.ndarray, skel: np.ndarray
) -> None:
    elbow, wrist = (skel[SKEL_NAMES.index(f"{n}_{side}")] for n in ("ulna", "hand"))
    along = (template - elbow) @ (wrist - elbow) / np.sum((wrist - elbow) ** 2)
    radius = _rise(along, float(np.mean(RADIUS_SPAN)), 0.5 * float(np.ptp(RADIUS_SPAN)))
    # calcaneus and talus share the hind foot: the talus carries the skin above the ankle joint
    height = _rise(template[:, 1], skel[SKEL_NAMES.index(f"talus_{side}"), 1] + 0.01, 0.03)
    columns = {
        "femur": parts["hip"], "tibia": parts["knee"], "talus": parts["ankle"] * height,
        "calcn": parts["ankle"] * (1 - height), "toes": parts["foot"], "scapula": parts["collar"],
        "humerus": parts["shoulder"], "ulna": parts["elbow"] * (1 - radius), "radius": parts["elbow"] * radius,
        "hand": parts["wrist"] + parts["hand"],
    }  # fmt: skip
    for name, values in columns.items():
        weights[:, SKEL_NAMES.index(f"{name}_{side}")] = values


def _rise(values: np.ndarray, centre: float, half_width: float) -> np.ndarray:
    """Smooth step from 0 to 1 over centre +- half_width."""
    t = np.clip((values - centre) / (2 * half_width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _shares(reached: list[np.ndarray]) -> list[np.ndarray]:
    """Weights of a chain of joints whose k-th link carries the share `reached[k]` of a vertex, or beyond."""
    bounds = [np.ones_like(reached[0]), *np.minimum.accumulate(reached), np.zeros_like(reached[0])]
    return [a - b for a, b in pairwise(bounds)]


def finish_weights(
    weights: np.ndarray, faces: np.ndarray, mirror: np.ndarray, joint_mirror: tuple[int, ...]
) -> np.ndarray:
    """Smoothed over the surface, pruned, left-right symmetric; rows sum to 1 up to float32."""
    average = _neighbour_average(faces, len(weights))
    for _ in range(SMOOTHING_STEPS):
        weights = 0.5 * weights + 0.5 * (average @ weights)
    weights = 0.5 * (weights + weights[mirror][:, list(joint_mirror)])
    weights = np.where(weights < LEAST_WEIGHT, 0, weights)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _neighbour_average(faces: np.ndarray, count: int) -> sparse.csr_array:
    edges = np.concatenate([faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))])
    links = sparse.coo_array((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    links.data[:] = 1.0
    return sparse.diags_array(1 / links.sum(1)) @ links


def both_weights(
    rig: Rig, numbering: Numbering, faces: np.ndarray, template: np.ndarray, smpl: np.ndarray, skel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Final SMPL and SKEL weights, (6890, 24) each."""
    parts = part_weights(rig, numbering)
    raw_smpl = smpl_weights(parts, template, smpl)
    raw_skel = skel_weights(parts, template, smpl, skel)
    return (
        finish_weights(raw_smpl, faces, numbering.mirror, SMPL_MIRROR),
        finish_weights(raw_skel, faces, numbering.mirror, SKEL_MIRROR),
    )
