"""Every moment of the footage fitted to all of its views under their true cameras."""

from typing import NamedTuple

import numpy as np
import torch

from benchmarks.footage.measured import Footage
from benchmarks.footage.sighted_views import SightedViews, sighted_views
from pipeline.body import Skel
from pipeline.fit import Skelify, SkelifyConfig
from pipeline.fit.views.multi_view import MultiViewFit, MultiViewResult, Views


class AllViews(NamedTuple):
    """T moments: what V cameras saw of them, and the body that agrees with all."""

    views: Views
    found: MultiViewResult


def fit_all_views(footage: Footage, skel: Skel, config: SkelifyConfig | None = None) -> AllViews:
    """From what each view says alone; a moment that a view misses starts there from another moment's pose."""
    seen = sighted_views(footage, "true")
    fit, alone = MultiViewFit(skel, config), Skelify(skel, config).fit_from_mean_pose(seen.keypoints, focal=seen.focal)
    views, starts = _views(footage, seen), []
    for view in range(footage.views):
        rows = np.full(len(footage.seconds), -1)
        rows[seen.frame[seen.view == view]] = np.flatnonzero(seen.view == view)
        own = np.where(rows >= 0, rows, rows.max())
        starts.append(fit.into_world(view, alone.q[own], alone.betas[own], alone.cam_t[own], views))
    return AllViews(views, fit.fit(views, torch.stack(starts, 1)))


def _views(footage: Footage, seen: SightedViews) -> Views:
    moments, views = len(footage.seconds), footage.views
    keypoints = torch.zeros(moments, views, *seen.keypoints.shape[1:], dtype=torch.float64)
    focal = torch.ones(moments, views, dtype=torch.float64)
    rotation = torch.eye(3, dtype=torch.float64).repeat(moments, views, 1, 1)
    translation = torch.zeros(moments, views, 3, dtype=torch.float64)
    keypoints[seen.frame, seen.view], focal[seen.frame, seen.view] = seen.keypoints, seen.focal
    rotation[seen.frame, seen.view] = torch.as_tensor(seen.rotation)
    translation[seen.frame, seen.view] = torch.as_tensor(seen.translation)
    return Views(keypoints, focal, rotation, translation)
