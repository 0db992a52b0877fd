"""The people of one evaluation file, whatever its format."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, Float64

from schemas.gender import Gender

_ARRAYS = ("center", "size", "keypoints_2d", "keypoints_3d", "pose", "betas", "has_smpl")


class EvaluationFileError(ValueError):
    """An evaluation file cannot be used; the message names file, field, what was found and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """N people. What a file does not have is zero.

    images: paths below the folder of images, names: how the file calls each person; center (N, 2), size (N, 2): the
    box, width and height, px of the photo as stored. keypoints_2d (N, 44, 3) px and confidence; keypoints_3d
    (N, 44, 4) m and confidence, camera axes; pose (N, 24, 3): SMPL, axis-angle, root first, camera axes; betas
    (N, 10); has_smpl (N,): whether pose and betas are to be believed. genders (N,): None where it is not known.
    """

    images: Sequence[str]
    names: Sequence[str]
    center: Float64[np.ndarray, "N 2"]
    size: Float64[np.ndarray, "N 2"]
    keypoints_2d: Float64[np.ndarray, "N 44 3"]
    keypoints_3d: Float64[np.ndarray, "N 44 4"]
    pose: Float64[np.ndarray, "N 24 3"]
    betas: Float64[np.ndarray, "N 10"]
    has_smpl: Bool[np.ndarray, "N"]
    genders: Sequence[Gender | None]

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, numbers: Sequence[int]) -> Self:
        """The people at these places."""
        places = list(numbers)
        arrays = {name: getattr(self, name)[places] for name in _ARRAYS}
        images, names = ([texts[place] for place in places] for texts in (self.images, self.names))
        genders = [self.genders[place] for place in places]
        return replace(self, images=images, names=names, genders=genders, **arrays)
