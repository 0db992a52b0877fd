"""How far fitted points lie from the measured ones, and how far angles of one moment differ between the views."""

from dataclasses import asdict, dataclass

import numpy as np

from schemas.skel import Q_NAMES

_MIN_POINTS = 6
_MID_HIP = 8
_LIMBS = {
    "knee_r": (9, 10, 11),
    "knee_l": (12, 13, 14),
    "elbow_r": (2, 3, 4),
    "elbow_l": (5, 6, 7),
}
_SPREAD_OF = (
    "knee_angle_r", "knee_angle_l", "hip_flexion_r", "hip_flexion_l", "elbow_flexion_r", "elbow_flexion_l",
    "lumbar_extension",
)  # fmt: skip


@dataclass(frozen=True)
class ViewErrors:
    """Means over crops unless named otherwise. pa, root: mm, after Procrustes, and after scaling at the mid hip; knee,
    elbow: difference of the angle between the limb's two bones, deg; spread: standard deviation over the views of one
    moment, median of seven joint angles, deg; jitter: error of the points' acceleration about the mid hip, mm per frame
    squared; None where it cannot be had.
    """

    pa_mpjpe_mm: float
    pa_p95_mm: float
    root_mpjpe_mm: float
    knee_median_deg: float
    knee_p90_deg: float
    elbow_median_deg: float
    spread_deg: float | None
    jitter_mm: float | None
    kp2d_px: float | None

    def row(self) -> dict[str, float | None]:
        """Rounded, for JSON."""
        return {name: None if value is None else round(float(value), 2) for name, value in asdict(self).items()}


def view_errors(
    points: np.ndarray,
    truth: np.ndarray,
    q: np.ndarray | None = None,
    view: np.ndarray | None = None,
    frame: np.ndarray | None = None,
    kp2d_px: np.ndarray | None = None,
) -> ViewErrors:
    """points, truth (N, 25, 3) m in the same axes, truth NaN where unknown; q (N, 46) rad, view and frame of each."""
    known = np.asarray(np.isfinite(truth).all(axis=-1))
    pairs = [(p[k], t[k]) for p, t, k in zip(points, truth, known, strict=True) if k.sum() >= _MIN_POINTS]
    pa = np.array([_procrustes_mm(*pair) for pair in pairs])
    knee, elbow = (_angle_errors(points, truth, [f"{limb}_r", f"{limb}_l"]) for limb in ("knee", "elbow"))
    spread = None if q is None or view is None or frame is None else _spread(q, view, frame)
    jitter = None if view is None or frame is None else _jitter_mm(points, truth, view, frame)
    return ViewErrors(
        float(pa.mean()), float(np.percentile(pa, 95)), float(np.nanmean(_root_mm(points, truth, known))),
        float(np.median(knee)), float(np.percentile(knee, 90)), float(np.median(elbow)), spread, jitter,
        None if kp2d_px is None else float(np.nanmean(kp2d_px)),
    )  # fmt: skip


def _procrustes_mm(points: np.ndarray, truth: np.ndarray) -> float:
    a, b = points - points.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turned = (s * flip).sum() / (a**2).sum() * a @ (u * flip) @ vt
    return float(np.linalg.norm(turned - b, axis=1).mean() * 1000)


def _root_mm(points: np.ndarray, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    a, b = points - points[:, [_MID_HIP]], truth - truth[:, [_MID_HIP]]
    weight = known & known[:, [_MID_HIP]]
    a, b = np.where(weight[..., None], a, 0), np.where(weight[..., None], b, 0)
    scale = (a * b).sum((1, 2)) / np.maximum((a * a).sum((1, 2)), 1e-9)
    away = np.linalg.norm(scale[:, None, None] * a - b, axis=2)
    count = weight.sum(1)
    return np.where(count >= _MIN_POINTS, 1000 * away.sum(1) / np.maximum(count, 1), np.nan)


def _jitter_mm(points: np.ndarray, truth: np.ndarray, view: np.ndarray, frame: np.ndarray) -> float | None:
    away = (points - points[:, [_MID_HIP]]) - (truth - truth[:, [_MID_HIP]])
    order = np.lexsort((frame, view))
    away, view, frame = away[order], view[order], frame[order]
    row = np.flatnonzero((view[2:] == view[:-2]) & (frame[2:] - frame[:-2] == 2))
    bend = np.linalg.norm(away[row + 2] - 2 * away[row + 1] + away[row], axis=-1)
    return float(1000 * np.nanmean(bend)) if np.isfinite(bend).any() else None


def _angle_errors(points: np.ndarray, truth: np.ndarray, limbs: list[str]) -> np.ndarray:
    errors = np.concatenate([_bend(points, *_LIMBS[limb]) - _bend(truth, *_LIMBS[limb]) for limb in limbs])
    return np.abs(errors[np.isfinite(errors)])


def _bend(points: np.ndarray, above: int, joint: int, below: int) -> np.ndarray:
    a, b = points[:, above] - points[:, joint], points[:, below] - points[:, joint]
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _spread(q: np.ndarray, view: np.ndarray, frame: np.ndarray) -> float | None:
    if len(np.unique(view)) < 2:
        return None
    grid = np.full((view.max() + 1, frame.max() + 1, len(_SPREAD_OF)), np.nan)
    grid[view, frame] = np.degrees(q[:, [Q_NAMES.index(name) for name in _SPREAD_OF]])
    return float(np.median(np.nanmean(np.nanstd(grid, axis=0), axis=0)))
