"""SKEL bone frames: rest rotations and translations that make the published joint axes anatomical and mirror-symmetric.

With B_j the bone orientation and A_j the rest rotation, an axis a of joint j turns about B_j A_j^T a in S-axes. B_j is
chosen first (x forward, y towards the parent, z right or up), the effective frame W_j second, and A_j = W_j^T B_j.
"""

import numpy as np

from tools.open_body.anatomy import SKEL_MIRROR, SKEL_NAMES, SKEL_PARENTS
from tools.open_body.tpose import rotation_between

# Columns: where O-axes (x forward, y up, z right) point in S-axes (x left, y up, z forward).
UPRIGHT = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
RIGHT_ARM = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # y towards the shoulder of an arm along -x, elbow hinge z up
FLIP_X = np.diag([-1.0, 1.0, 1.0])
FLIP_AXES = np.diag([-1.0, -1.0, 1.0])  # how published left axes follow from right ones
TALUS_AXIS = np.array([-0.10501355, -0.17402245, 0.97912632])
ULNA_AXIS = np.array([0.0494, 0.0366, 0.99810825])
RADIUS_AXIS = np.array([-0.01716099, 0.99266564, -0.11966796])
UP = np.array([0.0, 1.0, 0.0])
ARM_BONES = ("humerus_r", "ulna_r", "radius_r", "hand_r")


def first_child(joint: int) -> int | None:
    """First joint in index order whose parent is `joint`."""
    return next((k for k, parent in enumerate(SKEL_PARENTS) if parent == joint and k > 0), None)


def build_rig(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """per_joint_rot (24, 3, 3) and apose_rel_transfo (24, 4, 4) for the template's joint centres (24, 3) m."""
    bones = np.stack([UPRIGHT] * 24)
    effective = bones.copy()
    for name in ARM_BONES:
        bones[SKEL_NAMES.index(name)] = RIGHT_ARM
        effective[SKEL_NAMES.index(name)] = UPRIGHT if name == "humerus_r" else RIGHT_ARM
    # In the T-pose SMPL's elbow bends about y and its forearm twists along itself; the published axes are turned there.
    ulna, radius, hand = (SKEL_NAMES.index(n) for n in ("ulna_r", "radius_r", "hand_r"))
    effective[ulna] = rotation_between(RIGHT_ARM @ ULNA_AXIS, UP) @ RIGHT_ARM
    effective[radius] = rotation_between(RIGHT_ARM @ RADIUS_AXIS, joints[ulna] - joints[hand]) @ RIGHT_ARM
    _mirror_left(bones)
    _mirror_left(effective)
    talus = SKEL_NAMES.index("talus_l")
    # The published talus_l axis equals talus_r's; turn the frame so that the effective axis is the mirror image.
    effective[talus] = effective[talus] @ rotation_between(TALUS_AXIS, FLIP_AXES @ TALUS_AXIS)
    rest = np.swapaxes(effective, 1, 2) @ bones
    return bones.astype(np.float32), _rest_transforms(rest, bones, joints).astype(np.float32)


def _mirror_left(frames: np.ndarray) -> None:
    for joint, name in enumerate(SKEL_NAMES):
        if name.endswith("_l"):
            frames[joint] = -FLIP_X @ frames[SKEL_MIRROR[joint]] @ FLIP_AXES


def _rest_transforms(rest: np.ndarray, bones: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """[A_j | a_j]; a_j is the joint in its parent's bone frame, so that no bone turns at beta = 0."""
    result = np.stack([np.eye(4)] * 24)
    result[:, :3, :3] = rest
    for joint, parent in enumerate(SKEL_PARENTS):
        offset = joints[joint] - (joints[parent] if joint else 0)
        result[joint, :3, 3] = bones[max(parent, 0)].T @ offset
    thorax, lumbar, head = (SKEL_NAMES.index(n) for n in ("thorax", "lumbar_body", "head"))
    # SKEL aligns the thorax's head offset with the lumbar-to-thorax vector, so at rest the two must be parallel.
    spine = joints[thorax] - joints[lumbar]
    length = np.linalg.norm(joints[head] - joints[thorax])
    result[head, :3, 3] = bones[thorax].T @ spine * (length / np.linalg.norm(spine))
    return result
