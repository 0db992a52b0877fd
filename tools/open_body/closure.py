"""Closed half skin: the base mesh without its mouth and eye cavities, which would waste 1,200 vertices.

Only the left half (x >= 0) is handled; the right half is its mirror image. The cavities are cut at the rims listed here
(vertex ids of the CC0 base mesh) and closed by an eyeball fan and a lip seam.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from tools.open_body.makehuman import BaseMesh

LEFT_EYE_RIM = (6850, 6847, 6886, 6844, 6841, 6838, 6785, 6784, 6790, 6793, 6796, 6799, 6802, 6805, 6808, 6811, 11693,
                6814, 6817, 6820, 6825, 6828, 6831, 6834, 11695, 6837, 6856, 6853)  # fmt: skip
LEFT_MOUTH_RIM = (474, 7229, 7228, 7227, 7226, 11964, 7225, 7179, 7178, 7193, 10400, 7191, 7192, 10375, 7204, 7197,
                  7230, 7236, 7242, 493)  # fmt: skip
LEFT_PUPIL = (14607, 14598, 14616, 14625)  # eyeball vertices whose mean closes the lids


@dataclass(frozen=True)
class HalfSkin:
    """Left half of the closed skin; its vertices are base vertices, except that `pupil` is the mean of LEFT_PUPIL."""

    triangles: np.ndarray  # (T, 3) base-mesh vertex ids
    midline: np.ndarray  # base-mesh ids on the symmetry plane
    pupil: int  # base-mesh id that stands for the eyeball's front


def carry_pupils(points: np.ndarray, mesh: BaseMesh) -> np.ndarray:
    """Copy of per-vertex data (..., 19158, C) in which both pupil ids hold the mean over their eyeball vertices."""
    carried = points.copy()
    for ids in (np.array(LEFT_PUPIL), mesh.mirror[list(LEFT_PUPIL)]):
        carried[..., ids[0], :] = points[..., ids, :].mean(-2)
    return carried


def close_half_skin(mesh: BaseMesh, vertices: np.ndarray) -> HalfSkin:
    """Triangulated left half without cavities; `vertices` (19158, 3) choose the diagonals of the quads."""
    left = mesh.quads[mesh.vertices[mesh.quads][..., 0].mean(1) > 0]
    for rim in (LEFT_EYE_RIM, LEFT_MOUTH_RIM):
        left = _without_cavity(left, rim)
    triangles = np.concatenate([_split_quads(left, vertices), _eye_fan(), _lip_seam(vertices)])
    triangles = _orient(triangles)
    ids = np.unique(triangles)
    midline = ids[np.abs(mesh.vertices[ids, 0]) < 1e-9]
    return HalfSkin(triangles, midline, LEFT_PUPIL[0])


def _without_cavity(quads: np.ndarray, rim: tuple[int, ...]) -> np.ndarray:
    """Quads minus the smaller of the two parts that the rim separates."""
    blocked = {frozenset(edge) for edge in zip(rim, rim[1:] + rim[:1], strict=True)}
    by_edge = defaultdict(list)
    for face, quad in enumerate(quads):
        for edge in zip(quad, np.roll(quad, -1), strict=True):
            if frozenset(edge) not in blocked:
                by_edge[frozenset(edge)].append(face)
    neighbours = defaultdict(set)
    for pair in by_edge.values():
        for face in pair:
            neighbours[face].update(pair)
    inside = _reachable(_first_beside(quads, rim, 0), neighbours)
    outside = _reachable(_first_beside(quads, rim, 1), neighbours)
    return np.delete(quads, sorted(min(inside, outside, key=len)), axis=0)


def _first_beside(quads: np.ndarray, rim: tuple[int, ...], side: int) -> int:
    beside = np.flatnonzero(np.isin(quads, rim[2]).any(1) & np.isin(quads, rim[3]).any(1))
    return int(beside[side])


def _reachable(start: int, neighbours: dict[int, set[int]]) -> set[int]:
    seen, stack = {start}, [start]
    while stack:
        fresh = neighbours[stack.pop()] - seen
        seen |= fresh
        stack.extend(fresh)
    return seen


def _split_quads(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Two triangles per quad, along the shorter diagonal."""
    corners = vertices[quads]
    first = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1)
    second = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    rolled = np.where((first <= second)[:, None], quads, np.roll(quads, -1, axis=1))
    return np.concatenate([rolled[:, [0, 1, 2]], rolled[:, [0, 2, 3]]])


def _eye_fan() -> np.ndarray:
    rim = np.array(LEFT_EYE_RIM)
    return np.stack([rim, np.roll(rim, -1), np.full(len(rim), LEFT_PUPIL[0])], axis=1)


def _lip_seam(vertices: np.ndarray) -> np.ndarray:
    """Zip the upper and the lower lip together from the midline to the corner, always along the shorter new edge."""
    upper, lower = list(LEFT_MOUTH_RIM), list(reversed(LEFT_MOUTH_RIM))
    seam, i, j = [], 0, 0
    while len(LEFT_MOUTH_RIM) - i - j > 2:
        ahead_up = np.linalg.norm(vertices[upper[i + 1]] - vertices[lower[j]])
        ahead_low = np.linalg.norm(vertices[upper[i]] - vertices[lower[j + 1]])
        if ahead_up <= ahead_low:
            seam.append((upper[i], upper[i + 1], lower[j]))
            i += 1
        else:
            seam.append((upper[i], lower[j + 1], lower[j]))
            j += 1
    return np.array(seam)


def _orient(triangles: np.ndarray) -> np.ndarray:
    """Consistent winding, that of the first triangle (a split base quad, so outward)."""
    by_edge = defaultdict(list)
    for face, tri in enumerate(triangles):
        for edge in zip(tri, np.roll(tri, -1), strict=True):
            by_edge[frozenset(edge)].append(face)
    result, done, stack = triangles.copy(), {0}, [0]
    while stack:
        face = stack.pop()
        tri = result[face]
        for a, b in zip(tri, np.roll(tri, -1), strict=True):
            for other in set(by_edge[frozenset((a, b))]) - done:
                if _has_directed_edge(result[other], a, b):
                    result[other] = result[other][::-1]
                done.add(other)
                stack.append(other)
    return result


def _has_directed_edge(tri: np.ndarray, a: int, b: int) -> bool:
    return any(x == a and y == b for x, y in zip(tri, np.roll(tri, -1), strict=True))
