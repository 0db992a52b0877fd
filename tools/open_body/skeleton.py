"""A simple skeleton mesh for overlays: tubes and ellipsoids shaped like bones, in SKEL bone space.

Bones are modelled on the T-posed template in S-axes, the left and middle ones by hand, the right ones by mirroring.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tools.open_body.anatomy import SKEL_NAMES
from tools.open_body.tpose import MIRROR

SIDES = 6  # corners of a tube's cross-section
Bones = dict[str, np.ndarray]


@dataclass
class SkeletonMesh:
    """Growing mesh: vertices in S-axes (m), triangles, and the SKEL joint that carries each vertex."""

    vertices: list[np.ndarray] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)

    def add(self, joint: str, rings: np.ndarray) -> None:
        """Closed surface through rings of points (R, SIDES, 3), capped at both ends; left joints are mirrored too."""
        start = sum(map(len, self.vertices))
        points = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(1)])
        faces = _outward(points, _ring_faces(len(rings)))
        self._append(joint, points, faces + start)
        if joint.endswith("_l"):
            self._append(joint[:-1] + "r", points * MIRROR, faces[:, ::-1] + start + len(points))

    def _append(self, joint: str, points: np.ndarray, faces: np.ndarray) -> None:
        self.vertices.append(points)
        self.faces.append(faces)
        self.joints.append(np.full(len(points), SKEL_NAMES.index(joint)))


def _ring_faces(rings: int) -> np.ndarray:
    grid = np.arange(rings * SIDES).reshape(rings, SIDES)
    here, right = grid[:-1], np.roll(grid, -1, 1)[:-1]
    above, corner = grid[1:], np.roll(grid, -1, 1)[1:]
    sides = np.stack([here, right, corner, here, corner, above], -1).reshape(-1, 3)
    first, last = rings * SIDES, rings * SIDES + 1
    bottom = np.stack([np.full(SIDES, first), np.roll(grid[0], -1), grid[0]], 1)
    top = np.stack([np.full(SIDES, last), grid[-1], np.roll(grid[-1], -1)], 1)
    return np.concatenate([sides, bottom, top])


def _outward(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces of a closed surface wound so that its volume is positive."""
    a, b, c = (points[faces[:, k]] - points.mean(0) for k in range(3))
    return faces if np.sum(a * np.cross(b, c)) > 0 else faces[:, ::-1]


def by(x: float, y: float, z: float) -> np.ndarray:
    """An offset (3,) in S-axes, m: left, up, forward."""
    return np.array([x, y, z])


def tube(path: np.ndarray, radii: list[float] | np.ndarray) -> np.ndarray:
    """Rings (P, SIDES, 3) of a round tube along a path (P, 3)."""
    forward = np.gradient(path, axis=0)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    helper = np.eye(3)[np.argmin(np.abs(forward).sum(0))]
    side = np.cross(forward, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    angle = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    circle = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * np.cross(forward, side)[:, None]
    return path[:, None] + np.asarray(radii)[:, None, None] * circle


def shaft(start: np.ndarray, end: np.ndarray, thick: float, thin: float) -> np.ndarray:
    """A long bone: thin in the middle, thick at both rounded ends."""
    steps = np.array([-0.03, 0.0, 0.06, 0.18, 0.5, 0.82, 0.94, 1.0, 1.02])
    flare = np.array([0.45, 0.9, 0.9, 0.15, 0.0, 0.15, 1.0, 1.0, 0.5])
    return tube(start + steps[:, None] * (end - start), thin + flare * (thick - thin))


def ellipsoid(centre: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Rings of an ellipsoid; rows of axes (3, 3) are its half axes, the last one running through the caps."""
    latitude = np.linspace(-np.pi / 2 + 0.25, np.pi / 2 - 0.25, 5)
    angle = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    circle = np.cos(angle)[:, None] * axes[0] + np.sin(angle)[:, None] * axes[1]
    return centre + np.cos(latitude)[:, None, None] * circle + np.sin(latitude)[:, None, None] * axes[2]


def build_skeleton(
    bones: Bones, joints: np.ndarray, frames: np.ndarray, skin: np.ndarray, skin_weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Skeleton arrays of the body file: bone-space vertices (S, 3) m, faces, and the carrying joint of each vertex.

    `bones` are T-posed MakeHuman bone heads, `joints` (24, 3) SKEL joints, `frames` (24, 3, 3) bone orientations.
    """
    mesh = SkeletonMesh()
    named = dict(zip(SKEL_NAMES, joints, strict=True))
    _add_leg(mesh, bones, named)
    _add_arm(mesh, bones, named)
    _add_trunk(mesh, bones, named, skin, skin_weights)
    _add_head(mesh, bones)
    joint = np.concatenate(mesh.joints)
    local = np.einsum("vij,vi->vj", frames[joint], np.concatenate(mesh.vertices) - joints[joint])
    return {"vertices": np.round(local, 5).astype(np.float32), "faces": np.concatenate(mesh.faces), "joints": joint}


def finger_bone(start: np.ndarray, end: np.ndarray, thick: float, thin: float) -> np.ndarray:
    """A short bone with few rings."""
    steps = np.array([0.0, 0.15, 0.5, 0.85, 1.0])
    return tube(start + steps[:, None] * (end - start), np.array([thick, thick, thin, thick, 0.8 * thick]))


def _add_leg(mesh: SkeletonMesh, bones: Bones, joint: Bones) -> None:
    hip, knee, ankle, heel = (joint[n] for n in ("femur_l", "tibia_l", "talus_l", "calcn_l"))
    neck = np.stack([hip, hip + by(0.035, -0.018, 0), hip + by(0.042, -0.05, 0)])
    mesh.add("femur_l", ellipsoid(hip, 0.024 * np.eye(3)))
    mesh.add("femur_l", tube(neck, [0.014, 0.019, 0.015]))
    mesh.add("femur_l", shaft(hip + by(0.036, -0.03, 0), knee + by(0, 0.012, 0), 0.03, 0.014))
    mesh.add("tibia_l", shaft(knee - by(0, 0.03, 0), ankle + by(-0.008, 0.012, 0), 0.026, 0.012))
    mesh.add("tibia_l", shaft(knee + by(0.028, -0.06, -0.015), ankle + by(0.022, -0.01, -0.008), 0.011, 0.006))
    mesh.add("tibia_l", ellipsoid(knee + by(0, 0, 0.036), np.diag([0.019, 0.021, 0.01])))
    mesh.add("talus_l", ellipsoid(ankle - by(0, 0.012, 0), np.diag([0.02, 0.017, 0.025])))
    mesh.add("calcn_l", ellipsoid(heel + by(0, -0.006, 0.015), np.diag([0.021, 0.022, 0.042])))
    for k in range(1, 6):
        base, middle = bones[f"toe{k}-1.L"], bones[f"toe{k}-2.L"]
        start = 0.6 * ankle + 0.4 * base
        mesh.add("calcn_l", tube(np.stack([heel + by(0, 0.008, 0.035), start]), [0.014, 0.012]))
        mesh.add("calcn_l", finger_bone(start, base, 0.009, 0.006))
        mesh.add("toes_l", finger_bone(base, middle + (middle - base) * (0.6 if k == 1 else 0.9), 0.008, 0.005))


def _add_arm(mesh: SkeletonMesh, bones: Bones, joint: Bones) -> None:
    shoulder, elbow, wrist = (joint[n] for n in ("humerus_l", "ulna_l", "hand_l"))
    _add_scapula(mesh, bones, shoulder)
    mesh.add("humerus_l", ellipsoid(shoulder, 0.022 * np.eye(3)))
    mesh.add("humerus_l", shaft(shoulder + by(0.01, 0, 0), elbow, 0.022, 0.011))
    mesh.add("ulna_l", shaft(elbow - by(0.01, 0.004, 0.008), wrist - by(0, 0.004, 0.014), 0.013, 0.007))
    mesh.add("radius_l", shaft(elbow + by(0.02, 0.004, 0.012), wrist + by(0, 0.002, 0.012), 0.012, 0.007))
    mesh.add("hand_l", ellipsoid(wrist + by(0.022, 0, 0), np.diag([0.018, 0.01, 0.024])))
    for finger in range(1, 6):
        chain = [bones[f"finger{finger}-{k}.L"] for k in (1, 2, 3)]
        root = wrist + by(0.035, 0, 0.3 * (chain[0] - wrist)[2])
        for a, b in pairwise([root, *chain, chain[2] + 0.8 * (chain[2] - chain[1])]):
            mesh.add("hand_l", finger_bone(a, b, 0.0075, 0.0045))


def _add_scapula(mesh: SkeletonMesh, bones: Bones, shoulder: np.ndarray) -> None:
    middle, end = bones["shoulder01.L"] + by(0, 0.005, 0), shoulder + by(0, 0.024, 0)
    mesh.add("scapula_l", tube(np.stack([bones["clavicle.L"], middle, end]), [0.01, 0.006, 0.009]))
    spine = shoulder + by(-0.1, -0.02, -0.085)
    plate = np.array([[0.045, 0, 0.02], [0, 0, 0.006], [-0.01, -0.075, 0]])
    mesh.add("scapula_l", ellipsoid(spine - by(0, 0.04, 0), plate))
    mesh.add("scapula_l", tube(np.stack([spine, shoulder + by(-0.03, 0.018, -0.04), end]), [0.006, 0.009, 0.011]))


def _add_trunk(mesh: SkeletonMesh, bones: Bones, joint: Bones, skin: np.ndarray, weights: np.ndarray) -> None:
    _add_pelvis(mesh, bones, joint["femur_l"])
    _add_spine(mesh, bones)
    carried = weights[:, [SKEL_NAMES.index("thorax"), SKEL_NAMES.index("lumbar_body")]].sum(1)
    _add_ribs(mesh, bones, skin[carried > 0.5])


def _add_pelvis(mesh: SkeletonMesh, bones: Bones, hip: np.ndarray) -> None:
    mesh.add("pelvis", ellipsoid(bones["spine04"] + by(0, -0.06, -0.04), np.diag([0.042, 0.058, 0.018])))
    wing = np.array([[0.05, 0.02, 0.035], [-0.012, 0.0, 0.014], [-0.02, 0.07, -0.015]])
    front = by(0.004, hip[1] - 0.02, hip[2] + 0.065)
    arch = np.stack([hip + by(0.005, 0.02, 0), hip + by(-0.03, -0.01, 0.05), front])
    seat = np.stack([hip + by(0, 0.01, -0.01), hip + by(-0.015, -0.07, -0.03), front])
    brace = np.stack([hip + by(-0.02, 0.06, -0.03), bones["spine04"] + by(0.02, -0.04, -0.04)])
    for flip in (np.ones(3), MIRROR):
        mesh.add("pelvis", ellipsoid((hip + by(-0.008, 0.085, -0.022)) * flip, wing * flip))
        mesh.add("pelvis", tube(arch * flip, [0.022, 0.012, 0.014]))
        mesh.add("pelvis", tube(seat * flip, [0.02, 0.017, 0.008]))
        mesh.add("pelvis", tube(brace * flip, [0.022, 0.02]))


def _add_spine(mesh: SkeletonMesh, bones: Bones) -> None:
    names = ("spine04", "spine03", "spine02", "spine01", "neck01", "neck03", "head")
    back = np.array([-0.03, -0.035, -0.045, -0.035, -0.02, -0.02, -0.03])  # helpers run through the trunk's middle
    knots = np.stack([bones[n] for n in names]) + back[:, None] * [0, 0, 1]
    heights = np.linspace(knots[0, 1], knots[-1, 1], 23)
    for k, y in enumerate(heights):
        centre = np.array([0, y, np.interp(y, knots[:, 1], knots[:, 2])])
        carrier = "lumbar_body" if k < 5 else "thorax" if k < 17 else "head"
        size = 1.0 - 0.4 * k / 22
        process = centre + size * np.array([[0, 0, -0.015], [0, -0.012, -0.04]])
        mesh.add(carrier, ellipsoid(centre, size * np.array([[0.026, 0, 0], [0, 0, 0.02], [0, 0.018, 0]])))
        mesh.add(carrier, tube(process, size * np.array([0.009, 0.004])))


def _add_ribs(mesh: SkeletonMesh, bones: Bones, chest: np.ndarray) -> None:
    top, bottom = bones["clavicle.L"][1] + 0.01, bones["spine02"][1] + 0.02
    ends = []
    for share in np.linspace(0, 1, 9):
        height = top + share * (bottom - top)
        near = chest[np.abs(chest[:, 1] - height + 0.02) < 0.03]
        near = near[np.abs(near[:, 0]) < 0.17]
        back, front = near[:, 2].min() + 0.025, near[:, 2].max() - 0.02
        half = 0.86 * np.abs(near[:, 0]).max()
        half = min(half, 0.06 + 0.28 * share) if share < 0.3 else half
        angle = np.linspace(0.12, 0.86 if share < 0.8 else 0.7, 9) * np.pi
        middle, depth = 0.5 * (back + front), 0.5 * (front - back)
        drop = -0.07 * (1 - np.cos(angle)) / 2
        arc = np.stack([half * np.sin(angle), height + drop, middle - depth * np.cos(angle)], axis=1)
        ends.append(arc[-1])
        for side in (np.ones(3), MIRROR):
            mesh.add("thorax", tube(arc * side, np.full(len(arc), 0.0055)))
    breast = np.stack([ends[0], ends[2], ends[4], ends[5] - [0, 0.02, 0]]) * [0, 1, 1] + [0, 0, 0.004]
    mesh.add("thorax", tube(breast, [0.02, 0.014, 0.016, 0.006]))


def _add_head(mesh: SkeletonMesh, bones: Bones) -> None:
    base, crown = bones["head"], bones["crown"]
    height = crown[1] - base[1]
    centre = by(0, base[1] + 0.6 * height, base[2] + 0.01)
    mesh.add("head", ellipsoid(centre, np.array([[0.066, 0, 0], [0, 0, 0.088], [0, 0.38 * height, 0]])))
    mesh.add("head", ellipsoid(centre + by(0, -0.07, 0.055), np.array([[0.045, 0, 0], [0, 0, 0.03], [0, 0.05, 0]])))
    chin = by(0, bones["chin"][1] + 0.01, bones["chin"][2] - 0.018)
    for side in (np.ones(3), MIRROR):
        angle = np.stack([centre + by(0.055, -0.045, 0.005), by(0.045, chin[1] + 0.02, base[2] + 0.02), chin])
        mesh.add("head", tube(angle * side, [0.01, 0.012, 0.012]))
