"""What people are fitted to, as the compiled solver reads it: of all people, of one, and what holds for everyone."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pipeline.fit.solver.compiled_pelvis import pelvis_matrix
from pipeline.numerics.numba_cache import compiled
from schemas.skel import N_BETAS, N_Q

N_UNKNOWNS = N_Q + N_BETAS + 3
"""q (its first three as a spin vector in gradients and steps), betas, and tx, ty, log tz or trans."""


class Kernel(IntEnum):
    """How a point's distance to its target counts. s: the stage's kernel scale times the person's unit.

    IMAGE: s^2 d^2 / (s^2 + d^2) of the 2D distance (Geman-McClure): far points pull less. IMAGE_PER_AXIS: the same of x
    and y apart. SURFACE: d^2 + d^4 / (2 s^2) of the 3D distance: far points pull more.
    """

    IMAGE = 0
    IMAGE_PER_AXIS = 1
    SURFACE = 2


class People(NamedTuple):
    """What differs from person to person. position (B, K, 2) crop units or (B, K, 3) m, weight (B, K), unit (B,) of the
    kernel scale; focal (B,) crop units, of no account in 3D; points_3d (B, P, 3) m relative to keypoint 39, weight_3d
    (B, P, 3) with P = 44 or 0; anchor and precision (B, O, 59) of the unknowns in each of O opinions, and softness
    (B, O): an angle's hold has a quarter of its pull left at softness^-1/2 standard deviations, 0: always all of it.
    """

    position: Float[np.ndarray, "B K axes"]
    weight: Float[np.ndarray, "B K"]
    unit: Float[np.ndarray, "B"]
    focal: Float[np.ndarray, "B"]
    points_3d: Float[np.ndarray, "B P 3"]
    weight_3d: Float[np.ndarray, "B P 3"]
    anchor: Float[np.ndarray, "B O 59"]
    precision: Float[np.ndarray, "B O 59"]
    softness: Float[np.ndarray, "B O"]


class Person(NamedTuple):
    """One row of `People`, and the pelvis of each anchor as a rotation matrix."""

    position: Float[np.ndarray, "K axes"]
    weight: Float[np.ndarray, "K"]
    unit: float
    focal: float
    points_3d: Float[np.ndarray, "P 3"]
    weight_3d: Float[np.ndarray, "P 3"]
    anchor: Float[np.ndarray, "O 59"]
    precision: Float[np.ndarray, "O 59"]
    softness: Float[np.ndarray, "O"]
    anchor_matrix: Float[np.ndarray, "O 3 3"]


class Common(NamedTuple):
    """What holds for everyone, as plain numbers. kernel: a `Kernel`; range_pull: weight of
    exp(2 (low - q)) + exp(2 (q - high)) over joint_limits (2, 46).
    """

    kernel: int
    kernel_3d: float
    range_pull: float
    joint_limits: Float[np.ndarray, "2 46"]


class Targets(NamedTuple):
    """What B people are drawn to."""

    people: People
    common: Common


@compiled()
def one_person(people, i, frame):
    """The i-th `Person`; frame: the constant frame of the pelvis."""
    anchor = people.anchor[i]
    matrix = np.empty((len(anchor), 3, 3), anchor.dtype)
    for k in range(len(anchor)):
        matrix[k] = pelvis_matrix(anchor[k], frame)
    return Person(
        people.position[i],
        people.weight[i],
        people.unit[i],
        people.focal[i],
        people.points_3d[i],
        people.weight_3d[i],
        anchor,
        people.precision[i],
        people.softness[i],
        matrix,
    )
