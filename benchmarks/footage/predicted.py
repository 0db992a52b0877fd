"""What a network says of the footage's crops."""

from pathlib import Path

import numpy as np
import simplejpeg

from benchmarks.footage.filmed_person import filmed_person
from benchmarks.footage.measured import Footage
from benchmarks.footage.sighted_views import SightedViews, Told
from benchmarks.footage.video_frames import video_frames
from pipeline.labelling.predictor import PredictionBatch
from schemas.person import Photo
from trainer.checkpoint import load_checkpoint
from trainer.inference.predictor import CheckpointSource

_AT_ONCE = 16


def predicted(footage: Footage, folder: Path, checkpoint: str, told: Told, seen: SightedViews) -> PredictionBatch:
    """A guess per crop, in the order of `seen`, by a network that is told what `told` says of the lens."""
    predictor = CheckpointSource(checkpoint, load_checkpoint(checkpoint).digest).load("cpu")
    guesses = []
    for view in np.unique(seen.view):
        frames = seen.frame[seen.view == view]
        pictures = video_frames(folder, int(view), [int(footage.numbers[frame]) for frame in frames])
        photos = [
            _photo(footage, int(view), int(frame), told, picture)
            for frame, picture in zip(frames, pictures, strict=True)
        ]
        for start in range(0, len(photos), _AT_ONCE):
            guesses += predictor.predict(photos[start : start + _AT_ONCE])
    order = np.argsort(np.concatenate([np.flatnonzero(seen.view == view) for view in np.unique(seen.view)]))
    return PredictionBatch.from_guesses([guesses[row] for row in order])


def _photo(footage: Footage, view: int, frame: int, told: Told, picture: np.ndarray) -> Photo:
    height, width = picture.shape[:2]
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=95)
    person = filmed_person(footage, view, frame, told)
    return Photo(key=f"{view}/{frame}", jpeg=jpeg, width=width, height=height, people=(person,))
