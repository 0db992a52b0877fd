"""Named skin landmarks and the vertex numbering: landmarks get their official SMPL indices, the rest what is left."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.open_body.closure import HalfSkin
from tools.open_body.makehuman import BaseMesh, Rig

VERTEX_COUNT = 6890
# Landmark name -> (left index, right index); None where SMPL names only the other side.
PAIRED_INDICES: dict[str, tuple[int | None, int | None]] = {
    "eye": (2800, 6260), "ear": (583, 4071), "skull_side": (196, 3708),
    "big_toe": (3216, 6617), "small_toe": (3226, 6624), "heel": (3387, 6787),
    "finger1_tip": (2746, 6191), "finger2_tip": (2319, 5782), "finger3_tip": (2445, 5905), "finger4_tip": (2556, 6016),
    "finger5_tip": (2673, 6133), "hand_palm": (None, 6179), "hand_back": (None, 6137), "wrist_back": (None, 5670),
    "finger3_nail": (None, 5906),
}  # fmt: skip
MIDLINE_INDICES = {
    "nose": 332, "forehead": 410, "nape": 384, "crown": 414, "spine": 3027, "sternum": 3495, "xiphoid": 3506,
}  # fmt: skip


@dataclass(frozen=True)
class Numbering:
    """Final vertex order of the body."""

    base_ids: np.ndarray  # (6890,) base-mesh vertex behind each body vertex
    mirror: np.ndarray  # (6890,) body index of the left-right mirror vertex


def find_landmarks(mesh: BaseMesh, skin: HalfSkin, rig: Rig, vertices: np.ndarray, heads: np.ndarray) -> dict[str, int]:
    """Base-mesh vertex of every landmark on the left half; `vertices` (19158, 3) and bone `heads` are T-posed, m."""
    ids = np.unique(skin.triangles)
    bone = {name: k for k, name in enumerate(rig.names)}
    finder = _Finder(ids, vertices, rig.weights, bone)
    outward = {1: np.array([1.0, 0.0, 0.8])}  # the thumb points forward too
    tips = {f: finder.tip(f"finger{f}-3.L", outward.get(f, np.array([1.0, 0.0, 0.0]))) for f in range(1, 6)}
    finger = {f"finger{f}_tip": vertex for f, vertex in tips.items()}
    return (
        finger
        | _head(finder, skin, vertices, heads, bone)
        | _trunk(skin, vertices, heads, bone)
        | _limbs(finder, vertices, heads, bone)
    )


class _Finder:
    """Extreme left-half vertices within a region."""

    def __init__(self, ids: np.ndarray, vertices: np.ndarray, weights: np.ndarray, bone: dict[str, int]) -> None:
        self.ids, self.vertices, self.weights, self.bone = ids, vertices, weights, bone

    def best(self, score: Callable[[np.ndarray], np.ndarray], inside: np.ndarray) -> int:
        """Vertex among `inside` (mask over the left-half ids) with the highest score of its position (n, 3)."""
        candidates = self.ids[inside]
        return int(candidates[np.argmax(score(self.vertices[candidates]))])

    def tip(self, bone: str, direction: np.ndarray) -> int:
        """Farthest vertex along a direction among those that the bone carries."""
        return self.best(lambda p: p @ direction, self.weights[self.ids, self.bone[bone]] > 0.5)

    def nearest(self, point: np.ndarray) -> int:
        """Vertex closest to a point."""
        return self.best(lambda p: -np.linalg.norm(p - point, axis=1), np.ones(len(self.ids), bool))


def _head(
    finder: _Finder, skin: HalfSkin, vertices: np.ndarray, heads: np.ndarray, bone: dict[str, int]
) -> dict[str, int]:
    eye = vertices[skin.pupil]
    points = vertices[finder.ids]
    beside = (np.abs(points[:, 1] - eye[1]) < 0.05) & (points[:, 1] > heads[bone["head"], 1])
    above = (points[:, 1] > eye[1] + 0.045) & (points[:, 1] < eye[1] + 0.075)
    midline = np.isin(finder.ids, skin.midline)
    nose = midline & (points[:, 1] < eye[1] - 0.015) & (points[:, 1] > eye[1] - 0.06)
    return {
        "eye": skin.pupil,
        "ear": finder.best(lambda p: p[:, 0], beside),
        "skull_side": finder.best(lambda p: p[:, 0], above),
        "nose": finder.best(lambda p: p[:, 2], nose),
        "forehead": finder.best(lambda p: p[:, 2], above & midline),
        "crown": finder.best(lambda p: p[:, 1], midline),
        "nape": finder.best(lambda p: -p[:, 2], midline & (np.abs(points[:, 1] - eye[1] + 0.02) < 0.02)),
    }


def _trunk(skin: HalfSkin, vertices: np.ndarray, heads: np.ndarray, bone: dict[str, int]) -> dict[str, int]:
    chest = 0.5 * (heads[bone["spine01"], 1] + heads[bone["clavicle.L"], 1])
    return {
        "spine": _midline_at(skin, vertices, chest, front=False),
        "sternum": _midline_at(skin, vertices, chest, front=True),
        "xiphoid": _midline_at(skin, vertices, chest - 0.06, front=True),
    }


def _midline_at(skin: HalfSkin, vertices: np.ndarray, height: float, *, front: bool) -> int:
    points = vertices[skin.midline]
    middle = np.median(points[np.abs(points[:, 1] - height) < 0.05, 2])
    side = points[:, 2] > middle if front else points[:, 2] < middle
    gap = np.where(side, np.abs(points[:, 1] - height), np.inf)
    return int(skin.midline[np.argmin(gap)])


def _limbs(finder: _Finder, vertices: np.ndarray, heads: np.ndarray, bone: dict[str, int]) -> dict[str, int]:
    ankle, wrist, knuckle = (heads[bone[n]] for n in ("foot.L", "wrist.L", "finger3-1.L"))
    points = vertices[finder.ids]
    foot = points[:, 1] < ankle[1] - 0.03
    palm = 0.4 * wrist + 0.6 * knuckle
    around_palm = np.linalg.norm((points - palm)[:, [0, 2]], axis=1) < 0.015
    finger = vertices[finder.tip("finger3-3.L", np.array([1.0, 0.0, 0.0]))]
    return {
        "big_toe": finder.tip("toe1-2.L", np.array([0.0, 0.0, 1.0])),
        "small_toe": finder.tip("toe5-3.L", np.array([0.3, 0.0, 1.0])),
        "heel": finder.best(lambda p: -p[:, 2] - 0.3 * p[:, 1], foot),
        "hand_palm": finder.best(lambda p: -p[:, 1], around_palm),
        "hand_back": finder.best(lambda p: p[:, 1], around_palm),
        "wrist_back": finder.nearest(wrist + np.array([0.0, 0.03, 0.0])),
        "finger3_nail": finder.nearest(finger + np.array([-0.012, 0.012, 0.0])),
    }


def number_vertices(mesh: BaseMesh, left: np.ndarray, midline: np.ndarray, landmarks: dict[str, int]) -> Numbering:
    """Order of all 6,890 vertices; `left` and `midline` are base ids, landmarks sit at their official indices."""
    fixed = {index: landmarks[name] for name, index in MIDLINE_INDICES.items()}
    for name, (left_index, right_index) in PAIRED_INDICES.items():
        if left_index is not None:
            fixed[left_index] = landmarks[name]
        if right_index is not None:
            fixed[right_index] = int(mesh.mirror[landmarks[name]])
    everything = [*sorted(left), *sorted(midline), *mesh.mirror[sorted(left)]]
    taken = set(fixed.values())
    rest = iter([int(v) for v in everything if v not in taken])
    base_ids = np.array([fixed[i] if i in fixed else next(rest) for i in range(VERTEX_COUNT)])
    index = {base: i for i, base in enumerate(base_ids.tolist())}
    return Numbering(base_ids, np.array([index[int(v)] for v in mesh.mirror[base_ids]]))
