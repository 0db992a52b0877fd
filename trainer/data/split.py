"""Which photos no network is trained on, and in which fold a photo is: by its group alone, so that photos that show the
same are on one side, in every round, in every data set and on every machine.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from schemas.person import Photo


def is_held_out(groups: Int64[np.ndarray, "N"], share: float) -> Bool[np.ndarray, "N"]:
    """True for about `share` of all groups (N,)."""
    return (groups.view(np.uint64) >> np.uint64(11)) * 2.0**-53 < share


def fold_of(groups: Int64[np.ndarray, "N"], folds: int) -> Int64[np.ndarray, "N"]:
    """The fold (N,) of each group, 0 to folds - 1, whether it is held out or not.

    The bits are mixed anew (the finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014), so that what is held out
    says nothing of the fold.
    """
    x = groups.view(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(folds)).astype(np.int64)


def groups_of(photos: Sequence[Photo]) -> Int64[np.ndarray, "N"]:
    """The group (N,) of each photo. Raises ValueError for one without people, or that was not read from a shard."""
    groups = [photo.people[0].photo_group if photo.people else None for photo in photos]
    if None in groups:
        raise ValueError("a photo without a photo_group is in no part of a split: read it with read_shard.")
    return np.array(groups, dtype=np.int64)
