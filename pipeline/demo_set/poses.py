"""Made-up but plausible SKEL poses: hand-authored key poses, mirrored, mixed and perturbed within the joint limits."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from pipeline.body.representation import matrix_to_orientation
from schemas.skel import N_BETAS, N_Q, Q_NAMES, mirror_table, q_limits

Array = NDArray[np.float64]

_INDEX: Final = {name: index for index, name in enumerate(Q_NAMES)}
_PAIRED: Final = (
    "hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle",
    "elbow_flexion", "pro_sup", "wrist_flexion", "wrist_deviation",
)  # fmt: skip
_SHORT: Final = {"hip": "hip_flexion", "adduct": "hip_adduction", "turn_leg": "hip_rotation", "knee": "knee_angle",
                 "ankle": "ankle_angle", "toes": "mtp_angle", "elbow": "elbow_flexion"}  # fmt: skip

_LIMIT_MARGIN: Final = 0.01
"""True poses keep this share of each range away from its limits, so that no label is out of range by rounding."""
_NOISE_SHARE: Final = 0.05
"""Standard deviation of the perturbation of a dof, as a share of its range."""

SEEN_FROM_ABOVE: Final = (0.06, 0.12)
"""Mean and standard deviation of the pitch under which people are seen, rad, where no camera of the photo is made."""
LEVEL: Final = (0.0, 0.0)
"""No pitch: people as they stand, for a camera that brings its own."""

KEY_POSES: Final[dict[str, str]] = {
    # Degrees. _r/_l name a side, no suffix both. drop: upper arm below the horizontal (90 hangs, -80 overhead);
    # swing: hanging arm forward; fold: horizontal arm towards the front; lean: pelvis forward; the rest SKEL dof names.
    "stand": "drop=76 swing=4 elbow=14 knee=4 ankle=2",
    "stand_wide": "drop=58 swing=8 elbow=25 adduct=-16 knee=6",
    "contrapposto": "drop=74 elbow=20 hip_r=14 knee_r=28 adduct_l=6 lumbar_bending=-8 lumbar_twist=8 head_twist=20",
    "hands_on_hips": "drop=52 swing=-28 fold=-14 elbow=92 pro_sup=20 adduct=-8 knee=4",
    "arms_out": "drop=8 elbow=8 adduct=-8 knee=4",
    "arms_folded": "drop=66 swing=28 fold=42 elbow=106 knee=4",
    "phone": "drop_r=66 swing_r=30 fold_r=20 elbow_r=128 drop_l=76 elbow_l=18 head_bending=10 knee=5",
    "walk_contact": "hip_r=28 knee_r=6 ankle_r=4 hip_l=-18 knee_l=18 ankle_l=8 toes_l=24 drop=76 swing_l=26 "
    "swing_r=-24 elbow_l=28 elbow_r=14 lumbar_twist=6",
    "walk_passing": "hip_r=22 knee_r=58 hip_l=0 knee_l=6 drop=76 swing_l=6 swing_r=-4 elbow=18",
    "walk_push_off": "hip_r=-20 knee_r=34 ankle_r=-18 toes_r=28 hip_l=26 knee_l=10 drop=75 swing_r=28 "
    "swing_l=-26 elbow=26",
    "run_drive": "lean=10 hip_r=72 knee_r=92 ankle_r=10 hip_l=-22 knee_l=16 ankle_l=-24 toes_l=20 drop=72 swing_l=48 "
    "swing_r=-52 elbow=92 lumbar_twist=10",
    "run_flight": "lean=12 hip_r=44 knee_r=34 hip_l=-26 knee_l=96 ankle_l=-28 drop=70 swing_l=40 swing_r=-46 elbow=86",
    "sprint_start": "lean=62 hip_r=88 knee_r=96 hip_l=42 knee_l=58 ankle=16 drop=72 swing=66 elbow=4 head_extension=30",
    "sit_chair": "hip=84 knee=86 adduct=-8 drop=70 swing=34 elbow=52 lumbar_extension=-8",
    "sit_typing": "hip=88 knee=92 adduct=-6 drop=70 swing=24 elbow=88 fold=10 thorax_extension=-10 head_extension=-14",
    "sit_floor": "lean=-18 hip=84 knee=24 adduct=-22 drop=66 swing=-34 elbow=10 ankle=-12",
    "sit_crossed": "hip=92 adduct=-34 turn_leg=-34 knee=122 drop=62 swing=38 elbow=38 lumbar_extension=-10",
    "squat": "lean=24 hip=112 knee=118 adduct=-20 turn_leg=-14 ankle=30 drop=66 swing=78 elbow=20 lumbar_extension=10",
    "half_squat": "lean=26 hip=76 knee=76 adduct=-14 ankle=22 drop=62 swing=58 elbow=66 lumbar_extension=8",
    "chair_yoga": "lean=30 hip=84 knee=74 ankle=26 drop=-62 swing=-14 elbow=8 lumbar_extension=12",
    "lunge": "hip_r=86 knee_r=88 ankle_r=6 hip_l=-24 knee_l=44 toes_l=38 drop=72 elbow=24",
    "lunge_arms_up": "hip_r=80 knee_r=86 hip_l=-30 knee_l=30 toes_l=36 drop=-66 elbow=10 lumbar_extension=14",
    "warrior": "hip_r=62 adduct_r=-38 turn_leg_r=-30 knee_r=72 adduct_l=-36 hip_l=4 knee_l=4 drop=4 "
    "elbow=4 head_twist=-40",
    "kneel": "hip_r=84 knee_r=90 hip_l=-4 knee_l=92 toes_l=36 drop=72 swing=16 elbow=46",
    "reach_up": "drop=-66 elbow=8 knee=4 ankle=-8 lumbar_extension=10 head_extension=18",
    "reach_up_one": "drop_r=-70 elbow_r=6 drop_l=72 elbow_l=18 lumbar_bending=-12 thorax_bending=-8 head_extension=14",
    "reach_forward": "lean=14 drop=68 swing=76 elbow=10 hip=14 lumbar_extension=-14",
    "reach_down": "lean=50 hip=62 knee=34 ankle=16 drop=70 swing=74 elbow=8 lumbar_extension=-26 thorax_extension=-12",
    "touch_toes": "lean=68 hip=70 knee=8 lumbar_extension=-38 thorax_extension=-26 drop=72 swing=84 elbow=6",
    "good_morning": "lean=48 hip=58 knee=18 drop=20 fold=-24 elbow=112 lumbar_extension=10",
    "deadlift": "lean=54 hip=84 knee=56 ankle=18 drop=74 swing=54 elbow=3 lumbar_extension=4 head_extension=18",
    "side_bend": "drop_r=-58 elbow_r=18 drop_l=64 elbow_l=30 lumbar_bending=-24 thorax_bending=-18 adduct=-10",
    "point": "drop_r=12 fold_r=52 elbow_r=6 drop_l=74 elbow_l=18 head_twist=-18 knee=4",
    "wave": "drop_r=-18 fold_r=8 elbow_r=84 drop_l=76 elbow_l=16 knee=4",
    "cheer": "drop=-44 fold=6 elbow=34 hip_r=20 knee_r=36 lumbar_extension=8",
    "kick_front": "lean=-10 hip_r=86 knee_r=18 ankle_r=-20 knee_l=14 drop=48 swing_l=34 swing_r=-26 elbow=48",
    "kick_side": "hip_r=30 adduct_r=-43 knee_r=8 hip_l=4 knee_l=10 lumbar_bending=-18 drop=52 fold=24 elbow=84",
    "kick_ball": "lean=-6 hip_r=-30 knee_r=78 hip_l=18 knee_l=22 drop_l=24 fold_l=10 drop_r=48 swing_r=-26 elbow=28 "
    "lumbar_twist=-18",
    "arabesque": "lean=48 hip_l=46 knee_l=4 hip_r=-40 knee_r=6 ankle_r=-32 drop=4 elbow=6 lumbar_extension=26 "
    "head_extension=24",
    "tree": "hip_r=48 adduct_r=-42 turn_leg_r=-40 knee_r=112 drop=-64 fold=8 elbow=16",
    "boxing": "hip_r=18 knee_r=26 hip_l=8 knee_l=20 drop=62 swing=34 fold=24 elbow=116 lumbar_twist=18 "
    "head_extension=-10",
    "punch": "hip_r=24 knee_r=30 hip_l=-14 knee_l=18 drop_r=14 fold_r=78 elbow_r=8 drop_l=62 swing_l=30 elbow_l=118 "
    "lumbar_twist=22",
    "throw": "hip_l=48 knee_l=30 hip_r=-16 knee_r=22 drop_r=-8 fold_r=-34 elbow_r=84 drop_l=14 fold_l=38 elbow_l=12 "
    "lumbar_twist=-24 thorax_twist=-12",
    "serve": "hip_r=-10 knee_r=26 knee_l=22 drop_r=-38 fold_r=-12 elbow_r=96 drop_l=-66 elbow_l=6 lumbar_extension=20 "
    "head_extension=28",
    "star_jump": "adduct=-34 knee=6 ankle=-24 drop=-34 elbow=8",
    "tuck_jump": "lean=16 hip=104 knee=112 ankle=-16 drop=66 swing=56 elbow=42 lumbar_extension=-16",
    "skate": "lean=44 hip_r=78 knee_r=84 hip_l=18 adduct_l=-32 knee_l=16 drop=64 swing_r=46 swing_l=-48 elbow=26 "
    "lumbar_extension=-8 head_extension=26",
    "climb": "hip_r=92 adduct_r=-34 turn_leg_r=-30 knee_r=94 hip_l=6 adduct_l=-14 knee_l=16 drop_l=-62 elbow_l=34 "
    "drop_r=-14 fold_r=38 elbow_r=66 head_extension=22",
    "plank": "lean=84 hip=4 knee=4 drop=76 swing=82 elbow=4 ankle=30 toes=40 head_extension=16",
    "crawl": "lean=82 hip_r=92 hip_l=66 knee_r=88 knee_l=84 ankle=-30 drop=76 swing_r=70 swing_l=88 elbow=8 "
    "head_extension=30",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyStates:
    """True bodies: q (N, 46) rad, with the orientation in camera axes (x right, y down), and betas (N, 10)."""

    q: Float[np.ndarray, "N 46"]
    betas: Float[np.ndarray, "N 10"]


def sample_bodies(rng: np.random.Generator, count: int, pitch: tuple[float, float] = SEEN_FROM_ABOVE) -> BodyStates:
    """`count` people: key poses mixed two by two, perturbed inside the limits, turned any way, of any shape.

    pitch: mean and standard deviation, rad, of how far the camera looks down on them.
    """
    q, lean = _mixed_key_poses(rng, count)
    low, high = q_limits()
    margin = _LIMIT_MARGIN * (high - low)
    q += rng.normal(0.0, _NOISE_SHARE, (count, N_Q)) * (high - low) * np.minimum(1.0, rng.gamma(3.0, 0.33, (count, 1)))
    q = np.clip(q, low + margin, high - margin)
    q[:, :3] = _orientation_q(rng, lean, pitch)
    betas = np.clip(rng.normal(0.0, 0.8, (count, N_BETAS)), -2.2, 2.2)
    return BodyStates(q=q, betas=betas)


def key_pose(name: str) -> tuple[Float[np.ndarray, "46"], float]:
    """(q (46,), pelvis lean) in rad of a key pose; the orientation part of q is zero."""
    q = np.zeros(N_Q)
    for scapula in ("scapula_elevation_r", "scapula_elevation_l"):
        q[_INDEX[scapula]] = -0.22
    lean = 0.0
    for word in KEY_POSES[name].split():
        term, _, number = word.partition("=")
        angle = np.deg2rad(float(number))
        if term == "lean":
            lean = float(angle)
            continue
        for index, sign in _dofs(term):
            q[index] += sign * angle
    _turn_scapulae(q)
    return q, lean


def _dofs(term: str) -> list[tuple[int, float]]:
    """Which q, with which sign, a word of a key pose means."""
    side = term[-2:] if term[-2:] in ("_r", "_l") else ""
    stem = _SHORT.get(term.removesuffix(side), term.removesuffix(side))
    sides = [side] if side else ["_r", "_l"]
    if stem in _PAIRED:
        return [(_INDEX[stem + s], 1.0) for s in sides]
    if stem in ("drop", "swing", "fold"):
        axis = {"drop": "x", "swing": "y", "fold": "z"}[stem]
        sign = {"drop": 1.0, "swing": -1.0, "fold": 1.0}[stem]
        mirrored = -1.0 if axis in "xy" else 1.0
        return [(_INDEX[f"shoulder{s}_{axis}"], sign * (mirrored if s == "_l" else 1.0)) for s in sides]
    if term in _INDEX:
        return [(_INDEX[term], 1.0)]
    raise ValueError(
        f"key pose word {term!r} is neither a SKEL dof nor one of {sorted(_SHORT)}, drop, swing, fold, lean"
    )


def _turn_scapulae(q: Array) -> None:
    """A raised arm takes its shoulder blade along (about a third of the way, clipped later by the limits)."""
    for side, raised in (("r", -q[_INDEX["shoulder_r_x"]]), ("l", q[_INDEX["shoulder_l_x"]])):
        q[_INDEX[f"scapula_upward_rot_{side}"]] = 0.12 * raised
        q[_INDEX[f"scapula_elevation_{side}"]] -= 0.08 * max(raised, 0.0)


def _mixed_key_poses(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Each key pose is used about equally often; a second one is mixed in with a share of up to 0.4."""
    table, leans = zip(*(key_pose(name) for name in KEY_POSES), strict=True)
    poses, lean = np.array(table), np.array(leans)
    first = rng.permutation(np.arange(count) % len(poses))
    second = rng.integers(0, len(poses), count)
    share = (0.4 * rng.random(count) ** 1.5)[:, None]
    q = (1 - share) * _mirrored_at_random(rng, poses[first]) + share * _mirrored_at_random(rng, poses[second])
    return q, (1 - share[:, 0]) * lean[first] + share[:, 0] * lean[second]


def _mirrored_at_random(rng: np.random.Generator, q: Array) -> Array:
    source, sign = mirror_table()
    return np.where(rng.random((len(q), 1)) < 0.5, sign * q[:, source], q)


def _orientation_q(rng: np.random.Generator, lean: Array, pitch: tuple[float, float]) -> Array:
    """q[:3] of people seen from any side: camera pitch and roll small, now and then a person lying or upside down."""
    count = len(lean)
    roll = rng.normal(0.0, 0.08, count)
    unusual = rng.random(count) < 0.05
    roll = np.where(unusual, rng.uniform(-np.pi, np.pi, count), roll)
    tilt = np.pi + rng.normal(*pitch, count)
    yaw = rng.uniform(-np.pi, np.pi, count)
    matrix = _rotation("z", roll) @ _rotation("x", tilt) @ _rotation("y", yaw) @ _rotation("x", lean)
    return matrix_to_orientation(torch.as_tensor(matrix)).numpy()


def _rotation(axis: str, angle: Array) -> Array:
    """(N, 3, 3) rotations about one coordinate axis."""
    k = "xyz".index(axis)
    i, j = (k + 1) % 3, (k + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, k, k] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, i, j], matrix[:, j, i] = -np.sin(angle), np.sin(angle)
    return matrix
