"""Cost, gradient and normal matrix of many people in one compiled loop, for solvers that couple them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.keypoint_loop import KeypointTables, _scratch, in_chunks
from pipeline.fit.solver.compiled_pelvis import pelvis_matrix
from pipeline.fit.solver.compiled_terms import N_UNKNOWNS, Targets, linearise, workspace
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.numerics.levenberg_marquardt import Linearised
from pipeline.numerics.numba_cache import compiled


@compiled(nogil=True)
def _people(first, last, x, kernel, scale, people, common, frame, tables, cost, gradient, normal):
    position, weight, unit, points_3d, weight_3d, anchor, precision = people
    s = _scratch(len(tables[8]), len(tables[14]), len(tables[20]), x)
    w = workspace(position.shape[1], position.shape[2], x.dtype)
    for i in range(first, last):
        anchor_matrix = pelvis_matrix(anchor[i], frame)
        person = position[i], weight[i], points_3d[i], weight_3d[i], anchor[i], precision[i], anchor_matrix
        cost[i] = linearise(
            x[i], kernel, scale * unit[i], person, common, frame, tables, s, w, gradient[i], normal[i]
        )  # fmt: skip
        for a in range(N_UNKNOWNS):
            for b in range(a + 1, N_UNKNOWNS):
                normal[i, b, a] = normal[i, a, b]


def linearise_people(
    x: Float[Tensor, "B 59"],
    targets: Targets,
    kernel_scale: float,
    orientation: PelvisOrientation,
    tables: KeypointTables,
    threads: int,
) -> Linearised:
    """The objective of B people at x, as `pipeline.fit.solver.image_objective.linearise` has it."""
    at, count = x.numpy(), len(x)
    cost, gradient, normal = (np.zeros((count, *shape), at.dtype) for shape in ((), (N_UNKNOWNS,), (N_UNKNOWNS,) * 2))
    people = (
        targets.position, targets.weight, targets.unit, targets.points_3d, targets.weight_3d, targets.anchor,
        targets.precision,
    )  # fmt: skip
    common = float(targets.kernel_3d), float(targets.range_pull), targets.joint_limits
    constants = orientation.frame.numpy(), tuple(vars(tables).values()), cost, gradient, normal

    def work(first: int, last: int) -> None:
        _people(first, last, at, int(targets.kernel), float(kernel_scale), people, common, *constants)

    in_chunks(work, count, threads)
    return Linearised(*(torch.from_numpy(found) for found in (cost, gradient, normal)))
