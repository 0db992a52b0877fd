"""Decimation of the half skin by half-edge collapses, so that every kept vertex is an original vertex.

Keeping original vertices carries blend shapes, weights and the mirror map over exactly. Costs are the quadric errors of
Garland and Heckbert (SIGGRAPH 1997), weighted by how much a body part matters; midline vertices slide along it only.
"""

import heapq

import numpy as np

from tools.open_body.closure import HalfSkin

FLIP_COSINE = 0.2  # a collapse may turn no face by more than about 78 degrees
NEEDLE = 0.08  # least accepted triangle quality, 1 for equilateral
EDGE_WEIGHT = 2e-3  # share of the squared edge length in the cost, which keeps flat areas evenly meshed


class HalfMesh:
    """Mutable triangle mesh with vertex-to-face links and vertex quadrics."""

    def __init__(self, skin: HalfSkin, vertices: np.ndarray, importance: np.ndarray) -> None:
        """`vertices` (N, 3) m and `importance` (N,) are indexed by the ids that the triangles use."""
        self.points = vertices
        self.importance = importance
        self.on_midline = np.zeros(len(vertices), bool)
        self.on_midline[skin.midline] = True
        self.faces: dict[int, tuple[int, ...]] = {k: tuple(map(int, t)) for k, t in enumerate(skin.triangles)}
        self.around: dict[int, set[int]] = {}
        for face, corners in self.faces.items():
            for vertex in corners:
                self.around.setdefault(vertex, set()).add(face)
        self.quadrics: dict[int, np.ndarray] = {
            v: sum((self._plane_quadric(f) for f in faces), start=np.zeros((4, 4))) for v, faces in self.around.items()
        }

    def count(self) -> int:
        """Vertices of the whole body: midline ones once, others twice."""
        return sum(1 if self.on_midline[v] else 2 for v in self.around)

    def ring(self, vertex: int) -> set[int]:
        """Neighbours of a vertex."""
        return {v for f in self.around[vertex] for v in self.faces[f]} - {vertex}

    def _plane_quadric(self, face: int) -> np.ndarray:
        a, b, c = self.points[list(self.faces[face])]
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal)
        plane = np.append(normal, -normal @ a) / max(area, 1e-12)
        return np.outer(plane, plane) * area

    def cost(self, gone: int, kept: int) -> float:
        """Price in m^4 of moving `gone` onto `kept`."""
        at = np.append(self.points[kept], 1.0)
        error = at @ (self.quadrics[gone] + self.quadrics[kept]) @ at
        length = np.sum((self.points[gone] - self.points[kept]) ** 2)
        return float(self.importance[gone] * (max(error, 0.0) + EDGE_WEIGHT * length * length))

    def may_collapse(self, gone: int, kept: int) -> bool:
        """Whether the collapse keeps a manifold, the midline, and every face upright and not a needle."""
        shared = self.around[gone] & self.around[kept]
        rim_edge = len(shared) == 1
        if self.on_midline[gone] and not (self.on_midline[kept] and rim_edge):
            return False
        if len(self.ring(gone) & self.ring(kept)) != len(shared):
            return False
        return all(self._stays_upright(f, gone, kept) for f in self.around[gone] - shared)

    def _stays_upright(self, face: int, gone: int, kept: int) -> bool:
        corners = self.faces[face]
        if kept in corners:
            return False
        a, b, c = self.points[list(corners)]
        old = np.cross(b - a, c - a)
        a, b, c = self.points[[kept if v == gone else v for v in corners]]
        new = np.cross(b - a, c - a)
        area, sides = np.linalg.norm(new), np.sum((b - a) ** 2) + np.sum((c - b) ** 2) + np.sum((a - c) ** 2)
        quality = 2 * np.sqrt(3) * area / max(sides, 1e-15)
        return bool(old @ new > FLIP_COSINE * np.linalg.norm(old) * area and quality > NEEDLE)

    def collapse(self, gone: int, kept: int) -> None:
        """Move `gone` onto `kept` and drop the faces between them."""
        for face in self.around.pop(gone):
            corners = self.faces[face]
            if kept in corners:
                del self.faces[face]
                for vertex in set(corners) - {gone}:
                    self.around[vertex].discard(face)
            else:
                self.faces[face] = tuple(kept if v == gone else v for v in corners)
                self.around[kept].add(face)
        self.quadrics[kept] = self.quadrics[kept] + self.quadrics.pop(gone)


def decimate(mesh: HalfMesh, protected: set[int], total: int) -> np.ndarray:
    """Collapse the cheapest edges until the whole body has `total` vertices; returns the triangles (T, 3) of the half.

    Protected vertices are never removed.
    """
    heap: list[tuple[float, int, int]] = []
    for vertex in sorted(mesh.around):
        _push_edges(heap, mesh, vertex, protected)
    count = mesh.count()
    while count > total:
        cost, gone, kept = _pop(heap)
        stale = gone not in mesh.around or kept not in mesh.around or kept not in mesh.ring(gone)
        if stale or cost < mesh.cost(gone, kept) - 1e-18 or not mesh.may_collapse(gone, kept):
            continue
        removed = 1 if mesh.on_midline[gone] else 2
        if count - removed < total:
            continue
        mesh.collapse(gone, kept)
        count -= removed
        for vertex in sorted(mesh.ring(kept) | {kept}):
            _push_edges(heap, mesh, vertex, protected)
    return np.array([mesh.faces[f] for f in sorted(mesh.faces)])


def _pop(heap: list[tuple[float, int, int]]) -> tuple[float, int, int]:
    if not heap:
        raise RuntimeError("No edge of the half skin can be collapsed any more; relax FLIP_COSINE or NEEDLE.")
    return heapq.heappop(heap)


def _push_edges(heap: list[tuple[float, int, int]], mesh: HalfMesh, vertex: int, protected: set[int]) -> None:
    if vertex in protected:
        return
    for other in sorted(mesh.ring(vertex)):
        heapq.heappush(heap, (mesh.cost(vertex, other), vertex, other))
