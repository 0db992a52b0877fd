"""A person of whom no keypoint is seen, for tests of boxes and cameras."""

from collections.abc import Sequence

import numpy as np

from schemas.camera import Lens
from schemas.person import Person, PersonId


def unseen_person(id: PersonId, center: Sequence[float], side: float, lens: Lens | None = None) -> Person:
    """center (2,) and side px: the crop."""
    return Person(
        id=id,
        keypoints_2d=np.zeros((44, 3), np.float32),
        keypoints_3d=np.zeros((44, 4), np.float32),
        center=np.array(center, np.float32),
        side=side,
        smpl=None,
        lens=lens,
    )
