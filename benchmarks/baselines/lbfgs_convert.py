"""Baseline of `convert`: the published aligner in spirit (docs/objectives.md), on torch's LBFGS through the full mesh.

Four stages on all frames together, each 10 steps of 20 iterations; betas stay those of SMPL. Other than the original:
the pelvis starts at the correct Euler angles, which helps it (the original copies axis-angle into Euler slots).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pipeline.body import Skel, Smpl
from pipeline.body.representation import matrix_to_orientation
from pipeline.body.rotations import axis_angle_to_matrix
from schemas.skel import N_JOINTS, N_Q, N_UNLIMITED

STEPS_A_STAGE: Final = 10
_ALL_Q = tuple(range(N_Q))


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignerStage:
    """vertex_joints: SMPL joints whose vertices count (None: all); free_q: which q move; joints: which are compared."""

    lr: float
    tolerance: float
    vertex_weight: float
    joint_weight: float
    pose_weight: float
    vertex_joints: tuple[int, ...] | None
    joints: tuple[int, ...]
    free_q: tuple[int, ...]
    moves_trans: bool = False


def _without(*left_out: int, of: int) -> tuple[int, ...]:
    return tuple(i for i in range(of) if i not in left_out)


STAGES: Final = (
    AlignerStage(lr=1, tolerance=1e-4, vertex_weight=300, joint_weight=0, pose_weight=0, vertex_joints=(0, 3),
                 joints=(), free_q=(0, 1, 2), moves_trans=True),
    AlignerStage(lr=0.1, tolerance=1e-7, vertex_weight=600, joint_weight=500, pose_weight=1e-4,
                 vertex_joints=(0, 1, 2, 3, 6, 9, 12, 15, 16, 17),
                 joints=_without(3, 4, 5, 8, 9, 10, 18, 23, of=N_JOINTS), free_q=_without(0, 1, 2, 19, of=N_Q)),
    AlignerStage(lr=0.1, tolerance=1e-7, vertex_weight=600, joint_weight=1000, pose_weight=1e-4,
                 vertex_joints=_without(1, 2, 16, 17, of=24), joints=_without(of=N_JOINTS),
                 free_q=_without(0, 1, 2, of=N_Q)),
    AlignerStage(lr=0.1, tolerance=1e-7, vertex_weight=600, joint_weight=1000, pose_weight=1e-4, vertex_joints=None,
                 joints=(14, 19), free_q=_ALL_Q),
)  # fmt: skip


@dataclass(frozen=True)
class Alignment:
    """q (B, 46), trans (B, 3), and how many evaluations of the whole batch it took."""

    q: Tensor
    trans: Tensor
    evaluations: int


def align(skel: Skel, smpl: Smpl, pose: Tensor, betas: Tensor, steps: int = STEPS_A_STAGE) -> Alignment:
    """Fit SKEL to the SMPL meshes of pose (B, 24, 3), betas (B, 10) with `steps` LBFGS steps a stage."""
    with torch.no_grad():
        target = smpl.forward(pose, betas).vertices
    anatomic = torch.as_tensor(skel.arrays.joint_regressor).to(target) @ target
    q, trans = torch.zeros(len(pose), N_Q).to(target), torch.zeros(len(pose), 3).to(target)
    q[:, :N_UNLIMITED] = matrix_to_orientation(axis_angle_to_matrix(pose[:, 0]))
    evaluations = 0
    for stage, mask in zip(STAGES, _vertex_masks(smpl), strict=True):
        q, trans, used = _run_stage(skel, stage, mask, target, anatomic, q, trans, betas, steps)
        evaluations += used
    return Alignment(q, trans, evaluations)


def _vertex_masks(smpl: Smpl) -> Iterator[Tensor]:
    for stage in STAGES:
        weights = smpl.skin_weights
        everything = torch.ones(len(weights), dtype=torch.bool, device=weights.device)
        yield everything if stage.vertex_joints is None else (weights[:, list(stage.vertex_joints)] > 0.5).any(1)


def _run_stage(
    skel: Skel,
    stage: AlignerStage,
    mask: Tensor,
    target: Tensor,
    anatomic: Tensor,
    start_q: Tensor,
    start_trans: Tensor,
    betas: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor, int]:
    free = list(stage.free_q)
    moving, trans = start_q[:, free].clone().requires_grad_(), start_trans.clone().requires_grad_(stage.moves_trans)
    optimizer = torch.optim.LBFGS(
        [moving, trans] if stage.moves_trans else [moving],
        lr=stage.lr, max_iter=20, line_search_fn="strong_wolfe", tolerance_change=stage.tolerance,
    )  # fmt: skip
    evaluations = 0

    def posed_q() -> Tensor:
        return start_q.index_copy(1, torch.tensor(free, device=start_q.device), moving)

    def loss() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        q = posed_q()
        body = skel.forward(q, betas, trans)
        value = stage.vertex_weight * (body.skin_vertices - target)[:, mask].square().sum() / (mask.sum() * len(q))
        if stage.joints:
            away = (body.joints - anatomic)[:, list(stage.joints)]
            value = value + stage.joint_weight * away.square().sum() / body.joints.numel()
        if stage.pose_weight:
            value = value + stage.pose_weight * torch.linalg.matrix_norm(q[:, N_UNLIMITED:], ord=2)
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(loss)
    return posed_q().detach(), trans.detach(), evaluations
