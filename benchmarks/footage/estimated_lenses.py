"""What camera=auto makes of the footage's views when nothing is known of their lenses, each view a video of its own."""

import numpy as np

from benchmarks.footage.measured import POINTS, Footage
from benchmarks.footage.sighted_views import person_box, told_lens
from pipeline.fit import Skelify
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.estimated_focal import with_estimated_focal
from pipeline.labelling.tracks import TrackPart
from schemas.keypoints import MIN_CONFIDENCE, MIN_CONFIDENT_BODY_POINTS, N_KEYPOINTS
from schemas.person import Person, PersonId


def estimated_factors(footage: Footage, skelify: Skelify) -> np.ndarray:
    """(V,) estimated focal length over the usual one; 1 where too little is seen."""
    return np.array([_factor(footage, view, skelify) for view in range(footage.views)])


def _factor(footage: Footage, view: int, skelify: Skelify) -> float:
    batch = PersonBatch.from_people([_person(footage, view, frame) for frame in _frames(footage, view)])
    count = len(batch)
    track = TrackPart(np.arange(count), np.arange(count, dtype=np.float64), np.ones(count, dtype=bool))
    found = with_estimated_focal(batch, LabelBatch.of(batch.ids), skelify, [track])
    return float((found.focal / batch.focal)[0]) if count else 1.0


def _frames(footage: Footage, view: int) -> np.ndarray:
    confident = (footage.points_2d[view, :, :, 2] >= MIN_CONFIDENCE).sum(1)
    return np.flatnonzero(confident >= MIN_CONFIDENT_BODY_POINTS)


def _person(footage: Footage, view: int, frame: int) -> Person:
    center, side = person_box(footage.points_2d[view, frame])
    keypoints = np.zeros((N_KEYPOINTS, 3), np.float32)
    keypoints[:POINTS] = np.nan_to_num(footage.points_2d[view, frame])
    return Person(
        id=PersonId("footage", str(view), str(frame), 0),
        keypoints_2d=keypoints,
        keypoints_3d=np.zeros((N_KEYPOINTS, 4), np.float32),
        center=center.astype(np.float32),
        side=side,
        smpl=None,
        lens=told_lens(footage, view, "auto"),
    )
