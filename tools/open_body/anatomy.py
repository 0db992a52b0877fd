"""Joint centres of the SMPL and SKEL trees, from the T-posed bone heads of one MakeHuman person.

Both trees share hips, knees, ankles, toes, shoulders, elbows, wrists and collars, so that SMPL motion converts to SKEL.
"""

import numpy as np

from schemas.skel import JOINT_NAMES, PARENTS
from tools.open_body.tpose import MIRROR

SMPL_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
SKEL_NAMES, SKEL_PARENTS = JOINT_NAMES, PARENTS
# Keypoints 25..43: RAnk RKnee RHip LHip LKnee LAnk RWri RElb RSho LSho LElb LWri, then EXTRA_NAMES.
EXTRA_NAMES = ("lsp_neck", "crown", "mpii_pelvis", "mpii_thorax", "h36m_spine", "jaw", "h36m_head")
J19_FROM_SMPL = (8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20)
SMPL_MIRROR = tuple(
    SMPL_NAMES.index(n.replace("left", "?").replace("right", "left").replace("?", "right")) for n in SMPL_NAMES
)
_SKEL_TWIN = {n: n[:-1] + "l" for n in SKEL_NAMES if n.endswith("_r")}
_SKEL_TWIN |= {left: right for right, left in _SKEL_TWIN.items()}
SKEL_MIRROR = tuple(SKEL_NAMES.index(_SKEL_TWIN.get(n, n)) for n in SKEL_NAMES)

REACH = {  # m, radius of the skin that a joint belongs to; others OTHER_REACH
    "knee": 0.12, "ankle": 0.09, "foot": 0.085, "elbow": 0.09, "wrist": 0.075, "hand": 0.06, "shoulder": 0.13,
    "hip": 0.17, "collar": 0.16, "neck": 0.12, "head": 0.14, "tibia": 0.12, "talus": 0.09, "calcn": 0.08, "toes": 0.085,
    "ulna": 0.09, "radius": 0.09, "humerus": 0.13, "femur": 0.17, "scapula": 0.16, "crown": 0.05, "jaw": 0.06,
    "lsp_neck": 0.12,
}  # fmt: skip
OTHER_REACH = 0.22

HIP_INSET = 0.85  # MakeHuman's hip helpers sit lateral of the femoral head
RADIUS_ALONG_FOREARM = 0.1
HAND_ALONG_PALM = 0.8
HEAD_JOINT_RAISE = 0.15  # towards the crown


def left_joints(bones: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Centres (3,) m shared by both trees: midline ones and those of the left side."""
    ankle, wrist = bones["foot.L"], bones["wrist.L"]
    toes = np.mean([bones[f"toe{k}-1.L"] for k in range(1, 6)], axis=0)
    hip = bones["upperleg01.L"] * [HIP_INSET, 1, 1]
    spine = {k: bones[f"spine0{k}"] for k in range(1, 6)}
    midline = np.array([0.0, 1.0, 1.0])  # some MakeHuman bone ends sit a millimetre off it
    return {
        "pelvis": 0.5 * (hip * midline + spine[4]),
        "spine1": 0.5 * (spine[4] + spine[3]),
        "spine2": spine[2],
        "spine3": 0.5 * (spine[2] + spine[1]),
        "neck": bones["neck01"] * midline,
        "head": 0.5 * (bones["neck03"] + bones["head"]) * midline,
        "hip": hip,
        "knee": bones["lowerleg01.L"],
        "ankle": ankle,
        "foot": toes,
        "calcn": ankle + (toes - ankle) * [0.0, 0.85, -0.3],
        "collar": 0.45 * bones["clavicle.L"] + 0.55 * bones["shoulder01.L"],
        "shoulder": bones["upperarm01.L"],
        "elbow": bones["lowerarm01.L"],
        "radius": (1 - RADIUS_ALONG_FOREARM) * bones["lowerarm01.L"] + RADIUS_ALONG_FOREARM * wrist,
        "wrist": wrist,
        "hand": (1 - HAND_ALONG_PALM) * wrist + HAND_ALONG_PALM * bones["finger3-1.L"],
        "lumbar": spine[2],
        "thorax": spine[1],
        "skull": bones["head"] + HEAD_JOINT_RAISE * (bones["crown"] - bones["head"]),
        "lsp_neck": bones["neck02"] * midline,
        "crown": bones["crown"],
        "mpii_thorax": 0.6 * bones["neck01"] + 0.4 * spine[1],
        "h36m_spine": 0.5 * (spine[3] + spine[2]),
        "jaw": bones["chin"] * midline,
        "h36m_head": 0.5 * (bones["head"] + bones["crown"]),
    }


def smpl_joints(shared: dict[str, np.ndarray]) -> np.ndarray:
    """SMPL joint centres (24, 3) m."""
    return np.stack([_sided(shared, name, "left_", "right_") for name in SMPL_NAMES])


def skel_joints(shared: dict[str, np.ndarray]) -> np.ndarray:
    """SKEL joint centres (24, 3) m."""
    as_smpl = {
        "femur": "hip", "tibia": "knee", "talus": "ankle", "calcn": "calcn", "toes": "foot", "lumbar_body": "lumbar",
        "head": "skull", "scapula": "collar", "humerus": "shoulder", "ulna": "elbow", "hand": "wrist",
    }  # fmt: skip
    rows = []
    for name in SKEL_NAMES:
        bone, right = name.removesuffix("_r").removesuffix("_l"), name.endswith("_r")
        centre = shared[as_smpl.get(bone, bone)]
        rows.append(centre * MIRROR if right else centre)
    return np.stack(rows)


def extra_joints(shared: dict[str, np.ndarray]) -> np.ndarray:
    """Centres (7, 3) m of keypoints 37..43: LSP neck, crown, MPII pelvis and thorax, H36M spine, jaw, H36M head."""
    pelvis = 0.4 * shared["pelvis"] + 0.6 * shared["hip"] * [0, 1, 1]
    return np.stack([pelvis if name == "mpii_pelvis" else shared[name] for name in EXTRA_NAMES])


def reach_of(name: str) -> float:
    """Radius in m of the skin around a named centre of either tree."""
    part = name.removeprefix("left_").removeprefix("right_").removesuffix("_l").removesuffix("_r")
    return REACH.get(part, OTHER_REACH)


def _sided(shared: dict[str, np.ndarray], name: str, left: str, right: str) -> np.ndarray:
    return shared[name.removeprefix(right)] * MIRROR if name.startswith(right) else shared[name.removeprefix(left)]
