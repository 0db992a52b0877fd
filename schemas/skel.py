"""The SKEL skeleton: 24 joints, 46 degrees of freedom, their axes and limits (docs/body_model.md).

`q` (46,) is in rad. Axes are written in the joint's own OpenSim-like frame (x forward, y up, z right), multiplied
by the sign that SKEL applies. The first q of a joint is applied first: Rp = R(a_n, q_n) ... R(a_1, q_1).
"""

from dataclasses import dataclass
from math import cos, pi, sin
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64, Real

Axis = tuple[float, float, float]

N_JOINTS: Final = 24
N_Q: Final = 46
N_BETAS: Final = 10
BETAS_LIMIT: Final = 3.0
"""Standard deviations; beyond it a shape is not accepted as a label (docs/objectives.md), so no fit goes there."""

JOINT_NAMES: Final[tuple[str, ...]] = (
    "pelvis", "femur_r", "tibia_r", "talus_r", "calcn_r", "toes_r", "femur_l", "tibia_l", "talus_l", "calcn_l",
    "toes_l", "lumbar_body", "thorax", "head", "scapula_r", "humerus_r", "ulna_r", "radius_r", "hand_r",
    "scapula_l", "humerus_l", "ulna_l", "radius_l", "hand_l",
)  # fmt: skip
PARENTS: Final[tuple[int, ...]] = (
    -1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 12, 14, 15, 16, 17, 12, 19, 20, 21, 22,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dof:
    """One degree of freedom: rotation by q about `axis` of `joint`, allowed in [low, high] rad."""

    name: str
    joint: int
    axis: Axis
    low: float
    high: float


def pin_axis(a: float, b: float) -> Axis:
    """Rotation axis of an OpenSim pin joint whose parent frame has intrinsic XYZ Euler angles (a, b, any) rad."""
    return (sin(b), -sin(a) * cos(b), cos(a) * cos(b))


_X: Axis = (1.0, 0.0, 0.0)
_Y: Axis = (0.0, 1.0, 0.0)
_Z: Axis = (0.0, 0.0, 1.0)
_NX: Axis = (-1.0, 0.0, 0.0)
_NY: Axis = (0.0, -1.0, 0.0)
_NZ: Axis = (0.0, 0.0, -1.0)
_ANKLE = pin_axis(0.175895, -0.105208)
_SUBTALAR_R = pin_axis(-1.76818999, 0.906223)
_SUBTALAR_L = pin_axis(1.768189999, -0.906223)
_MTP_R = pin_axis(-3.141589999, 0.619901)
_MTP_L = pin_axis(-3.141589999, -0.619901)
_ELBOW_R: Axis = (0.0494, 0.0366, 0.99810825)
_ELBOW_L: Axis = (-0.0494, -0.0366, 0.99810825)
_PRO_SUP_R: Axis = (-0.01716099, 0.99266564, -0.11966796)
_PRO_SUP_L: Axis = (0.01716099, -0.99266564, -0.11966796)

DOFS: Final[tuple[Dof, ...]] = (
    Dof("pelvis_tilt", 0, _Z, -pi, pi),
    Dof("pelvis_list", 0, _X, -pi, pi),
    Dof("pelvis_rotation", 0, _Y, -pi, pi),
    Dof("hip_flexion_r", 1, _Z, -pi / 4, 3 * pi / 4),
    Dof("hip_adduction_r", 1, _X, -pi / 4, pi / 6),
    Dof("hip_rotation_r", 1, _Y, -pi / 4, pi / 4),
    Dof("knee_angle_r", 2, _NZ, 0.0, 3 * pi / 4),
    Dof("ankle_angle_r", 3, _ANKLE, -pi / 4, pi / 4),
    Dof("subtalar_angle_r", 4, _SUBTALAR_R, -pi / 4, pi / 4),
    Dof("mtp_angle_r", 5, _MTP_R, -pi / 4, pi / 4),
    Dof("hip_flexion_l", 6, _Z, -pi / 4, 3 * pi / 4),
    Dof("hip_adduction_l", 6, _NX, -pi / 4, pi / 6),
    Dof("hip_rotation_l", 6, _NY, -pi / 4, pi / 4),
    Dof("knee_angle_l", 7, _NZ, 0.0, 3 * pi / 4),
    Dof("ankle_angle_l", 8, _ANKLE, -pi / 4, pi / 4),
    Dof("subtalar_angle_l", 9, _SUBTALAR_L, -pi / 4, pi / 4),
    Dof("mtp_angle_l", 10, _MTP_L, -pi / 4, pi / 4),
    Dof("lumbar_bending", 11, _X, -pi / 6, pi / 6),
    Dof("lumbar_extension", 11, _Z, -pi / 4, pi / 4),
    Dof("lumbar_twist", 11, _Y, -pi / 4, pi / 4),
    Dof("thorax_bending", 12, _X, -pi / 4, pi / 4),
    Dof("thorax_extension", 12, _Z, -pi / 4, pi / 4),
    Dof("thorax_twist", 12, _Y, -pi / 4, pi / 4),
    Dof("head_bending", 13, _X, -pi / 4, pi / 4),
    Dof("head_extension", 13, _Z, -pi / 4, pi / 4),
    Dof("head_twist", 13, _Y, -pi / 4, pi / 4),
    Dof("scapula_abduction_r", 14, _Y, -0.628, 0.628),
    Dof("scapula_elevation_r", 14, _NZ, -0.4, -0.1),
    Dof("scapula_upward_rot_r", 14, _NX, -0.190, 0.319),
    Dof("shoulder_r_x", 15, _X, -pi / 2, pi / 2 + 1.5),
    Dof("shoulder_r_y", 15, _Y, -pi / 2, pi / 2),
    Dof("shoulder_r_z", 15, _Z, -pi / 2, pi / 2),
    Dof("elbow_flexion_r", 16, _ELBOW_R, 0.0, 3 * pi / 4),
    Dof("pro_sup_r", 17, _PRO_SUP_R, -3 * pi / 8, 3 * pi / 8),
    Dof("wrist_flexion_r", 18, _X, -pi / 2, pi / 2),
    Dof("wrist_deviation_r", 18, _NZ, -pi / 4, pi / 4),
    Dof("scapula_abduction_l", 19, _Y, -0.628, 0.628),
    Dof("scapula_elevation_l", 19, _Z, -0.4, -0.1),
    Dof("scapula_upward_rot_l", 19, _X, -0.210, 0.219),
    Dof("shoulder_l_x", 20, _X, -pi / 2 - 1.5, pi / 2),
    Dof("shoulder_l_y", 20, _Y, -pi / 2, pi / 2),
    Dof("shoulder_l_z", 20, _Z, -pi / 2, pi / 2),
    Dof("elbow_flexion_l", 21, _ELBOW_L, 0.0, 3 * pi / 4),
    Dof("pro_sup_l", 22, _PRO_SUP_L, -pi / 2, pi / 2),
    Dof("wrist_flexion_l", 23, _NX, -pi / 2, pi / 2),
    Dof("wrist_deviation_l", 23, _NZ, -pi / 4, pi / 4),
)

Q_NAMES: Final[tuple[str, ...]] = tuple(dof.name for dof in DOFS)
N_UNLIMITED: Final = 3
"""The first three q (pelvis orientation) have no limits; their table entries are +-pi."""


def q_limits() -> tuple[Float64[np.ndarray, "46"], Float64[np.ndarray, "46"]]:
    """HSMR's joint limits (low, high), each (46,) float64 rad; +-pi for the unlimited pelvis."""
    return np.array([d.low for d in DOFS]), np.array([d.high for d in DOFS])


LIMIT_ROUNDING_RAD: Final = 1e-4
"""A label so little beyond a limit is not beyond it: float32 rounds a limit by 1e-7."""


def limit_margin(q: Real[np.ndarray, "N 46"]) -> Float64[np.ndarray, "N 46"]:
    """How far each angle is from the nearer of its limits, rad, negative beyond it; infinite for the pelvis."""
    low, high = q_limits()
    margin = np.minimum(q - low, high - q)
    margin[:, :N_UNLIMITED] = np.inf
    return margin


def mirror_table() -> tuple[Int64[np.ndarray, "46"], Float64[np.ndarray, "46"]]:
    """Left/right mirror of q (docs/body_model.md): `mirrored = sign * q[..., source]`, both (46,)."""
    right = [*range(3, 10), *range(26, 36)]
    left = [*range(10, 17), *range(36, 46)]
    source = np.arange(N_Q)
    source[right], source[left] = left, right
    sign = np.ones(N_Q)
    sign[[1, 2]] = -1
    for first in (17, 20, 23):
        sign[[first, first + 2]] = -1
    for first in (26, 29, 36, 39):
        sign[[first, first + 1]] = -1
    return source, sign
