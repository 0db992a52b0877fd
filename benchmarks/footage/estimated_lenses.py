"""What camera=auto makes of the footage's views when nothing is known of their lenses, each view a video of its own."""

import numpy as np

from benchmarks.footage.filmed_person import filmed_person
from benchmarks.footage.measured import Footage
from benchmarks.footage.sighted_views import usable_frames
from pipeline.fit import Skelify
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.estimated_focal import with_estimated_focal
from pipeline.labelling.tracks import TrackPart
from schemas.gender import DEFAULT_GENDER


def estimated_factors(footage: Footage, skelify: Skelify) -> np.ndarray:
    """(V,) estimated focal length over the usual one; 1 where too little is seen."""
    return np.array([_factor(footage, view, skelify) for view in range(footage.views)])


def _factor(footage: Footage, view: int, skelify: Skelify) -> float:
    frames = usable_frames(footage, view)
    batch, count = PersonBatch.from_people([filmed_person(footage, view, f, "auto") for f in frames]), len(frames)
    track = TrackPart(np.arange(count), footage.seconds[frames].astype(np.float64), np.ones(count, dtype=bool))
    found = with_estimated_focal(batch, LabelBatch.of(batch.ids), {DEFAULT_GENDER: skelify}, [track])
    return float((found.focal / batch.focal)[0]) if count else 1.0
