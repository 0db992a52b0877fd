"""Floating-point operations and bytes of the compiled loops, counted from the tables they run over.

A multiplication or an addition counts as one. Kinematics are counted to leading order (about a tenth of the whole).
"""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.report import best_seconds
from pipeline.body import Skel
from pipeline.body.representation import Q_OF_JOINT
from schemas.keypoints import SCORED
from schemas.skel import N_BETAS, N_JOINTS, N_Q

UNKNOWNS = N_Q + N_BETAS + 3


@dataclass(frozen=True)
class Count:
    """What a part does for one person."""

    part: str
    flops: float


def keypoint_counts(skel: Skel) -> list[Count]:
    """Keypoints and Jacobian, part by part as in `pipeline.body.keypoint_loop`."""
    tables = skel.keypoint_operator.tables
    dofs = np.array([len(ids) for ids in Q_OF_JOINT])
    pairs, blocks, depth = len(tables.pair_bone), len(tables.block_pair), (tables.pair_moments >= 0).sum()
    per_moment = 6 + 18 * (dofs[tables.moment_joint] + N_BETAS)
    per_sum = 2 * 3 * 9 * (dofs[tables.sum_joint] + N_BETAS)
    rest = N_JOINTS * 3 * 2 * N_BETAS + N_JOINTS * (40 * N_BETAS + 200)  # joints, bone frames and their shape spin
    motion = N_Q * 120 + N_JOINTS * (90 + 48 * N_BETAS) + N_JOINTS * 120  # local rotations, chain, shape spin to world
    return [
        Count("kinematics and their derivatives", float(rest + motion)),
        Count(f"{pairs} (keypoint, bone) pairs", float(pairs * (3 * 2 * N_BETAS + 24 + 18 * N_BETAS) + 3 * depth)),
        Count(f"{blocks} pose corrective blocks", float(blocks * (27 * 3 + 27 * 6))),
        Count(f"{len(per_moment)} moments to dX/dq, dX/dbetas", float(per_moment.sum())),
        Count(f"{len(per_sum)} corrective slopes", float(per_sum.sum() + 27 * (N_Q + N_JOINTS * N_BETAS))),
    ]


def solver_counts(skel: Skel, usable: float) -> list[Count]:
    """One Levenberg-Marquardt evaluation besides the keypoints; `usable` of the 42 scored points carry weight."""
    rows = 2 * 44 * 3 * (UNKNOWNS - 3)
    moved = _moved_unknowns(skel)
    products = sum(4 * float((UNKNOWNS - np.flatnonzero(moved[k])).sum()) for k in SCORED) * usable / len(SCORED)
    return [
        Count("rows of the projected points", float(rows)),
        Count("normal matrix", products),
        Count("Cholesky factor, solve, predicted drop", UNKNOWNS**3 / 3 + 6.0 * UNKNOWNS**2),
    ]


def _moved_unknowns(skel: Skel) -> np.ndarray:
    """(44, 59) bool: which unknowns move a keypoint at all."""
    generator = torch.Generator().manual_seed(0)
    q = 0.3 * torch.randn(1, N_Q, generator=generator, dtype=torch.float64)
    _, by_q, _ = skel.keypoints_and_jacobian(q.to(skel.dtype), torch.zeros(1, N_BETAS).to(skel.dtype))
    return np.concatenate([(by_q[0] != 0).any(1).numpy(), np.ones((44, UNKNOWNS - N_Q), dtype=bool)], 1)


def table_bytes(skel: Skel) -> int:
    """Constants the loop reads again for every person; they stay in the second-level cache."""
    return sum(np.asarray(array).nbytes for array in skel.keypoint_operator.tables)


def output_bytes(skel: Skel) -> int:
    """Written once for a person: X, dX/dq and dX/dbetas."""
    return 44 * 3 * (1 + N_Q + N_BETAS) * torch.empty((), dtype=skel.dtype).element_size()


def peak_gflops(dtype: torch.dtype, size: int = 1024) -> float:
    """What a matrix product of torch reaches on the threads in use, here and now."""
    a = torch.randn(size, size, dtype=dtype)
    return 2 * size**3 / best_seconds(lambda: a @ a, repeats=5) / 1e9
