"""`real-truth`: fits of real footage against its measured 3D points, under one camera or another (docs/real_truth.md).

Frames 0..59 alone are looked at; settings must not be chosen by what lies after them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.footage.all_views import fit_all_views
from benchmarks.footage.blazepose import can_run, landmarks_3d
from benchmarks.footage.estimated_lenses import estimated_factors
from benchmarks.footage.measured import POINTS, Footage, read_footage
from benchmarks.footage.predicted import predicted
from benchmarks.footage.sighted_views import SightedViews, Told, sighted_views
from benchmarks.footage.video_frames import has_video
from benchmarks.footage.view_errors import ViewErrors, view_errors
from benchmarks.footage.view_pictures import draw_views
from benchmarks.report import Options, say, table
from pipeline.body import Skel, load_skel
from pipeline.fit import Skelify, SkelifyConfig, SkelifyResult
from pipeline.fit.video.track import TrackFit
from pipeline.image.camera import at_focal
from pipeline.image.crop import CROP_PX
from pipeline.labelling.convert import as_model

FRAMES: Final = 60
_ROBUST: Final = {
    "robust": SkelifyConfig(),
    "robust, as assumed": SkelifyConfig(
        noise="uniform", kernel_scale=0.025, unlabelled_orientation_std=0.2, starts="mean_pose"
    ),  # before this footage was looked at
}
_TOLD: tuple[Told, ...] = ("true", "exif +20 %", "exif -20 %", "auto", "hsmr")
_COLUMNS = (
    "method", "camera", "views", "PA-MPJPE mm", "p95", "root mm", "knee med deg", "p90", "elbow", "spread deg",
    "jitter mm", "kp px",
)  # fmt: skip


@dataclass(frozen=True)
class _Row:
    method: str
    camera: str
    views: int
    errors: ViewErrors

    def cells(self) -> list[str]:
        e = self.errors
        numbers = (
            e.pa_mpjpe_mm, e.pa_p95_mm, e.root_mpjpe_mm, e.knee_median_deg, e.knee_p90_deg, e.elbow_median_deg,
            e.spread_deg, e.jitter_mm, e.kp2d_px,
        )  # fmt: skip
        return [self.method, self.camera, str(self.views), *("" if x is None else f"{x:.1f}" for x in numbers)]

    def as_json(self) -> dict[str, Any]:
        return {"method": self.method, "camera": self.camera, "views": self.views, **self.errors.row()}


def run(options: Options) -> None:
    """Print every method under every camera, then all views at once."""
    folder = options.data or (None if options.shared is None else options.shared / "data" / "multiview")
    if folder is None or not folder.is_dir():
        say("No footage with measured points here: --data FOLDER with a truth.npz (docs/real_truth.md). Nothing run.")
        return
    footage = read_footage(folder, 4 if options.quick else FRAMES)
    skel = load_skel(dtype=torch.float64)
    rows: list[_Row] = []
    for told in ("true", "hsmr") if options.quick else _TOLD:
        rows += _single_views(footage, told, skel)
        if options.checkpoint is not None and has_video(folder):
            rows += _from_predictions(footage, folder, options.checkpoint, told, skel)
    rows += _blazepose(footage, folder, options)
    rows.append(_all_views(footage, skel))
    if options.pictures is not None:
        _draw(footage, folder, options.pictures, skel)
    table(_COLUMNS, [row.cells() for row in rows])
    say(f"{len(footage.seconds)} frames, {footage.views} views, every crop fitted from the mean pose. The truth itself")
    say("is good to 2 or 3 cm (limbs) and 3 to 5 cm (hips): it judges errors of 40 to 100 mm, not of 10.")
    if options.json is not None:
        _write(options.json, rows)


def _write(path: Path, rows: list[_Row]) -> None:
    path.write_text(json.dumps([row.as_json() for row in rows], indent=1), encoding="utf-8")


def _single_views(footage: Footage, told: Told, skel: Skel) -> list[_Row]:
    seen = sighted_views(footage, told)
    rows = []
    for name, config in (("published objective", SkelifyConfig(objective="hsmr")), *_ROBUST.items()):
        skelify = Skelify(skel, config)
        found = skelify.fit_from_mean_pose(seen.keypoints, focal=seen.focal)
        rows.append(_judged(name, told, seen, found, skel))
        if name in _ROBUST:
            filmed = seen if told != "auto" else _under_estimates(footage, skelify)
            first = found if told != "auto" else skelify.fit_from_mean_pose(filmed.keypoints, focal=filmed.focal)
            rows.append(_judged(f"{name}, tracks", told, filmed, _tracks(footage, filmed, skelify, first), skel))
    return rows


def _under_estimates(footage: Footage, skelify: Skelify) -> SightedViews:
    """A video tells more of its lens than a photo: the views under what its frames say together."""
    longer = estimated_factors(footage, skelify)
    say(f"camera=auto, tracks: focal lengths {', '.join(f'{x:.2f}' for x in longer)} of the photo's diagonal.")
    return sighted_views(footage, "auto", longer)


def _from_predictions(footage: Footage, folder: Path, checkpoint: str, told: Told, skel: Skel) -> list[_Row]:
    """The network alone, and the robust fit that starts from it and is held to it."""
    seen = sighted_views(footage, told)
    guesses = predicted(footage, folder, checkpoint, told, seen)
    q, betas, cam_t, focal = (as_model(skel, x) for x in (guesses.q, guesses.betas, guesses.cam_t, guesses.focal))
    alone = view_errors(skel.keypoints(q, betas)[:, :POINTS].numpy(), seen.points_3d, guesses.q, seen.view, seen.frame)
    found = Skelify(skel).fit(seen.keypoints, q, betas, at_focal(cam_t, focal, seen.focal), focal=seen.focal)
    return [
        _Row("network", told, len(q), alone),
        _judged("robust, from the network", told, seen, found, skel),
    ]


def _blazepose(footage: Footage, folder: Path, options: Options) -> list[_Row]:
    models = None if options.shared is None else options.shared / "data" / "detectors"
    if models is None or not can_run(folder, models):
        say(
            "BlazePose's own 3D is left out: it needs videos beside truth.npz, its model, and pip install '.[footage]'."
        )
        return []
    seen = sighted_views(footage, "true")
    points = landmarks_3d(footage, folder, models, seen)
    truth = np.where(np.isfinite(points), seen.points_3d, np.nan)
    return [
        _Row(
            "BlazePose 3D", "none", len(points), view_errors(np.nan_to_num(points), truth, None, seen.view, seen.frame)
        )
    ]


def _draw(footage: Footage, folder: Path, out: Path, skel: Skel) -> None:
    if not has_video(folder):
        say("No pictures: they need cam01.mp4, ... beside truth.npz, and pip install '.[footage]'.")
        return
    seen = sighted_views(footage, "true")
    draw_views(footage, folder, seen, Skelify(skel).fit_from_mean_pose(seen.keypoints, focal=seen.focal), skel, out)
    say(f"the middle frame's labels, each drawn into all views: {out}")


def _tracks(footage: Footage, seen: SightedViews, skelify: Skelify, first: SkelifyResult) -> SkelifyResult:
    parts = []
    for view in np.unique(seen.view):
        rows = torch.as_tensor(np.flatnonzero(seen.view == view))
        times = torch.as_tensor(footage.seconds[seen.frame[rows]])
        own = SkelifyResult(*(x[rows] for x in first))
        loosely = torch.ones(len(rows), dtype=torch.bool)
        parts.append(TrackFit(skelify).fit(seen.keypoints[rows], times, own, loosely, focal=seen.focal[rows]))
    return SkelifyResult(*(torch.cat(x) for x in zip(*parts, strict=True)))


def _judged(method: str, told: str, seen: SightedViews, found: SkelifyResult, skel: Skel) -> _Row:
    points = skel.keypoints(found.q, found.betas)[:, :POINTS].numpy()
    error = view_errors(
        points, seen.points_3d, found.q.numpy(), seen.view, seen.frame, found.kp2d_error.numpy() * CROP_PX
    )
    return _Row(method, told, len(points), error)


def _all_views(footage: Footage, skel: Skel) -> _Row:
    together, views = fit_all_views(footage, skel).found, footage.views
    points = (skel.keypoints(together.q, together.betas) + together.trans[:, None])[:, :POINTS].numpy()
    away = np.linalg.norm(points - footage.points_3d, axis=2) * 1000
    say(f"all views at once: {np.nanmean(away):.1f} mm from the measured points, not aligned.")
    return _Row("all views at once", "true", views, view_errors(points, footage.points_3d))
