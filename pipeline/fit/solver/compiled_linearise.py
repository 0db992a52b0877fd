"""Cost, gradient and normal matrix of many people in one compiled loop, for solvers that couple them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.keypoint_loop import in_chunks
from pipeline.body.keypoint_tables import KeypointTables, new_scratch
from pipeline.fit.solver.compiled_terms import linearise, new_workspace
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.fit.solver.targets import N_UNKNOWNS, Targets, one_person
from pipeline.numerics.levenberg_marquardt import Linearised
from pipeline.numerics.numba_cache import compiled


@compiled(nogil=True)
def _people(first, last, x, scale, people, common, frame, tables, cost, gradient, normal):
    scratch = new_scratch(tables, x.dtype)
    work = new_workspace(people.position.shape[1], people.position.shape[2], x.dtype)
    for i in range(first, last):
        person = one_person(people, i, frame)
        cost[i] = linearise(x[i], scale, person, common, frame, tables, scratch, work, gradient[i], normal[i])
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
    constants = *targets, orientation.frame.numpy(), tables

    def work(first: int, last: int) -> None:
        _people(first, last, at, float(kernel_scale), *constants, cost, gradient, normal)

    in_chunks(work, count, threads)
    return Linearised(*(torch.from_numpy(found) for found in (cost, gradient, normal)))
