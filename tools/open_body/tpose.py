"""T-pose of a MakeHuman person: arms along +-x, palms down, fingers straight, legs almost parallel, feet flat.

Every person of the population is posed by their own joints, so that the shape space holds no pose.
"""

import numpy as np

from tools.open_body.makehuman import BaseMesh, Rig

MIRROR = np.array([-1.0, 1.0, 1.0])
HIP_CENTRE = np.array([0.0, -0.26, 0.0])  # m, where every person's hips are put
CLAVICLE_LIFT = np.radians(7.0)
SHOULDER_LIFT = np.radians(16.0)  # of shoulder01, from rest; the upper arm takes the rest of the way
THIGH_SPREAD, SHIN_SPREAD = 0.06, 0.03  # sideways slope of thigh and shin
FINGER_CURL = 0.35  # share of the finger's droop that stays
FOREARM_TWIST = {"lowerarm01.L": 0.35, "lowerarm02.L": 0.75}  # share of the hand's roll that each forearm bone follows


def rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Shortest rotation (3, 3) that turns one direction into another."""
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    v, c = np.cross(a, b), a @ b
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + c)


def rotation_about(axis: int, angle: float) -> np.ndarray:
    """Right-handed rotation (3, 3) about a coordinate axis, rad."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    result = np.eye(3)
    result[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return result


class TPoser:
    """Poses any person of one base mesh and rig."""

    def __init__(self, mesh: BaseMesh, rig: Rig) -> None:
        self.mesh, self.rig = mesh, rig
        self.index = {name: k for k, name in enumerate(rig.names)}

    def pose(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T-posed copy (19158, 3) of a person and its bone heads (bones, 3), m."""
        heads = np.stack([vertices[ids].mean(0) for ids in self.rig.heads])
        rotations = self._mirrored(self._left_rotations(vertices, heads))
        origins = self._place(heads, rotations)
        offsets = origins - np.einsum("bij,bj->bi", rotations, heads)
        posed = np.einsum("vb,bij,vj->vi", self.rig.weights, rotations, vertices, optimize=True)
        posed += self.rig.weights @ offsets
        shift = HIP_CENTRE - origins[[self.index["upperleg01.L"], self.index["upperleg01.R"]]].mean(0)
        return posed + shift, origins + shift

    def _place(self, heads: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Posed bone heads (bones, 3) by forward kinematics."""
        origins = heads.copy()
        for bone, parent in enumerate(self.rig.parents):
            if parent >= 0:
                origins[bone] = origins[parent] + rotations[parent] @ (heads[bone] - heads[parent])
        return origins

    def _mirrored(self, left: dict[str, np.ndarray]) -> np.ndarray:
        """World rotations of all bones: those given, their mirror images, and children that follow their parent."""
        rotations = np.stack([np.eye(3)] * len(self.rig.names))
        for bone, (name, parent) in enumerate(zip(self.rig.names, self.rig.parents, strict=True)):
            if name.endswith(".R"):
                rotations[bone] = MIRROR[:, None] * rotations[self.index[name[:-1] + "L"]] * MIRROR
            elif name in left:
                rotations[bone] = left[name]
            elif parent >= 0:
                rotations[bone] = rotations[parent]
        return rotations

    def _left_rotations(self, vertices: np.ndarray, heads: np.ndarray) -> dict[str, np.ndarray]:
        return self._leg(heads) | self._arm(heads) | self._fingers(vertices, heads, self._hand(heads))

    def _at(self, heads: np.ndarray, *names: str) -> list[np.ndarray]:
        return [heads[self.index[name]] for name in names]

    def _leg(self, heads: np.ndarray) -> dict[str, np.ndarray]:
        hip, knee, ankle = self._at(heads, "upperleg01.L", "lowerleg01.L", "foot.L")
        thigh = rotation_between(knee - hip, _with_slope(knee - hip, THIGH_SPREAD))
        shin = rotation_between(ankle - knee, _with_slope(ankle - knee, SHIN_SPREAD))
        return {"upperleg01.L": thigh, "lowerleg01.L": shin, "foot.L": np.eye(3)}

    def _arm(self, heads: np.ndarray) -> dict[str, np.ndarray]:
        shoulder, elbow, wrist = self._at(heads, "upperarm01.L", "lowerarm01.L", "wrist.L")
        hinge = np.cross(elbow - shoulder, wrist - elbow)
        down = np.array([0.0, -1.0, 0.0])
        lower = _frame_rotation(wrist - elbow, hinge, down)
        roll = _roll_about_x(self._hand(heads) @ lower.T)
        twists = {name: rotation_about(0, share * roll) @ lower for name, share in FOREARM_TWIST.items()}
        return {
            "clavicle.L": rotation_about(2, CLAVICLE_LIFT),
            "shoulder01.L": rotation_about(2, SHOULDER_LIFT),
            "upperarm01.L": _frame_rotation(elbow - shoulder, hinge, down),
            **twists,
        }

    def _hand(self, heads: np.ndarray) -> np.ndarray:
        """Rotation that points the left hand along +x with the thumb side forward."""
        wrist, index, middle, little = self._at(heads, "wrist.L", "finger2-1.L", "finger3-1.L", "finger5-1.L")
        return _frame_rotation(middle - wrist, index - little, np.array([0.0, 0.0, 1.0]))

    def _fingers(self, vertices: np.ndarray, heads: np.ndarray, hand: np.ndarray) -> dict[str, np.ndarray]:
        rotations = {"wrist.L": hand}
        for name in (f"finger{f}-{k}.L" for f in (2, 3, 4, 5) for k in (1, 2, 3)):
            bone = self.index[name]
            direction = hand @ (vertices[self.rig.tails[bone]].mean(0) - heads[bone])
            flat = direction * [1.0, FINGER_CURL, 1.0]
            rotations[name] = rotation_between(direction, flat) @ hand
        return rotations


def _with_slope(direction: np.ndarray, sideways: float) -> np.ndarray:
    """The direction with another sideways slope x / -y."""
    return np.array([-sideways * direction[1], direction[1], direction[2]])


def _frame_rotation(along: np.ndarray, across: np.ndarray, target_across: np.ndarray) -> np.ndarray:
    """Rotation taking `along` to +x and the part of `across` normal to it to `target_across` (normal to x)."""
    x = along / np.linalg.norm(along)
    y = across - (across @ x) * x
    y /= np.linalg.norm(y)
    target_x = np.array([1.0, 0.0, 0.0])
    source = np.stack([x, y, np.cross(x, y)], axis=1)
    target = np.stack([target_x, target_across, np.cross(target_x, target_across)], axis=1)
    return target @ source.T


def _roll_about_x(rotation: np.ndarray) -> float:
    """Twist angle about x, rad."""
    return float(np.arctan2(rotation[2, 1] - rotation[1, 2], rotation[1, 1] + rotation[2, 2]))
