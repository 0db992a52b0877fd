"""A crop of the footage as a shard would hold it."""

import numpy as np

from benchmarks.footage.measured import POINTS, Footage
from benchmarks.footage.sighted_views import Told, person_box, told_lens
from schemas.keypoints import N_KEYPOINTS
from schemas.person import Person, PersonId


def filmed_person(footage: Footage, view: int, frame: int, told: Told) -> Person:
    """With the detected keypoints and the lens that a method is told."""
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
        lens=None if told == "hsmr" else told_lens(footage, view, told),
    )
