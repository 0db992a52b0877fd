"""Evaluation metrics on batches: MPJPE, PA-MPJPE, MPVPE in mm, PCK@t (docs/terms.md).

Points are (B, N, 3) in metres. Every metric gives one value per person; means are left to the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

MM_PER_M = 1000.0

Points = Float[Tensor, "B N 3"]
PerPerson = Float[Tensor, "B"]


def mean_distance_mm(predicted: Points, truth: Points) -> PerPerson:
    """Mean distance of corresponding points, mm, no alignment: MPJPE of joints, MPVPE of vertices."""
    _check_shapes(predicted, truth)
    return torch.linalg.vector_norm(predicted - truth, dim=-1).mean(-1) * MM_PER_M


def mpjpe_mm(predicted: Points, truth: Points, root: int | None = None) -> PerPerson:
    """Mean per-joint position error, mm; with `root`, both sides are first moved so that this joint is at 0."""
    if root is None:
        return mean_distance_mm(predicted, truth)
    return mean_distance_mm(predicted - predicted[:, root : root + 1], truth - truth[:, root : root + 1])


def pa_mpjpe_mm(predicted: Points, truth: Points) -> PerPerson:
    """The same after the best similarity of each person (`procrustes_align`), mm; also PA-MPVPE when given vertices."""
    return mean_distance_mm(procrustes_align(predicted, truth), truth)


def mpvpe_mm(
    vertices: Points, true_vertices: Points, root: Float[Tensor, "B 1 3"], true_root: Float[Tensor, "B 1 3"]
) -> PerPerson:
    """Mean vertex error with both meshes moved so that their root joint (B, 1, 3) is at the origin, mm."""
    return mean_distance_mm(vertices - root, true_vertices - true_root)


def pve_mm(vertices: Points, converted_from: Points) -> Float[Tensor, "B N"]:
    """Distance of each vertex to the mesh that was converted, the mean difference removed, mm: PVE (docs/terms.md)."""
    _check_shapes(vertices, converted_from)
    difference = vertices - converted_from
    return torch.linalg.vector_norm(difference - difference.mean(1, keepdim=True), dim=-1) * MM_PER_M


def procrustes_align(points: Points, target: Points) -> Points:
    """`points` moved by the similarity (scale, proper rotation, translation) with least squared distance to `target`.

    Umeyama (PAMI 1991). A mirrored or planar set gets a proper rotation all the same; points that all coincide are
    moved to the target's centre.
    """
    _check_shapes(points, target)
    mean, target_mean = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    centred, target_centred = points - mean, target - target_mean
    u, singular, vt = torch.linalg.svd(target_centred.mT @ centred)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.where(torch.linalg.det(u) * torch.linalg.det(vt) < 0, -1.0, 1.0).to(sign)
    rotation = u @ (sign[..., None] * vt)
    spread = centred.square().sum((1, 2))
    scale = (singular * sign).sum(-1) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    return scale[:, None, None] * (centred @ rotation.mT) + target_mean


def distances(
    predicted: Float[Tensor, "B K 2"], truth: Float[Tensor, "B K 2"], unit: PerPerson | float
) -> Float[Tensor, "B K"]:
    """Of corresponding points, multiplied by `unit`, per person or for all. For points in crop units, 1 gives crops;
    crop side / longest side of the tight box, boxes.
    """
    apart = torch.linalg.vector_norm(predicted - truth, dim=-1)
    return apart * torch.as_tensor(unit).to(predicted).reshape(-1, 1)


def count_right(
    distance: Float[Tensor, "B K"], valid: Bool[Tensor, "B K"], thresholds: Sequence[float]
) -> tuple[Int[Tensor, "T K"], Int[Tensor, "K"]]:
    """How many people have each keypoint nearer than a threshold (T, K), and valid (K,). Batches and ranks add theirs
    up.
    """
    limits = distance.new_tensor(thresholds)[:, None, None]
    return ((distance < limits) & valid).sum(1), valid.sum(0)


def right_keypoints(
    predicted: Float[Tensor, "B K 2"],
    truth: Float[Tensor, "B K 2"],
    valid: Bool[Tensor, "B K"],
    unit: PerPerson | float,
    thresholds: Sequence[float],
) -> tuple[Int[Tensor, "T K"], Int[Tensor, "K"]]:
    """`count_right` of the `distances` of points."""
    return count_right(distances(predicted, truth, unit), valid, thresholds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pck:
    """Share of correct keypoints: `per_keypoint` (T, K) by threshold, NaN where one is never valid; `mean` (T,)."""

    per_keypoint: Float[Tensor, "T K"]
    mean: Float[Tensor, "T"]
    valid_keypoints: int


def pck(right: Num[Tensor, "T K"], valid: Num[Tensor, "K"]) -> Pck:
    """PCK@t of the counts of `right_keypoints`. The mean is over keypoints that are valid at least once."""
    seen = valid > 0
    rates = torch.where(seen, right / valid.clamp_min(1), torch.nan)
    return Pck(per_keypoint=rates, mean=rates[:, seen].mean(-1), valid_keypoints=int(seen.sum()))


def _check_shapes(points: Tensor, target: Tensor) -> None:
    if points.shape != target.shape or points.dim() != 3 or points.shape[-1] != 3:
        raise ValueError(
            f"points {tuple(points.shape)} and target {tuple(target.shape)} must both be (B, N, 3) in metres"
        )
