"""The shapes of what compiled code makes for itself: handed out to Python, it passes the checks of its fields."""

import numpy as np
import pytest

from pipeline.body import Skel
from pipeline.body.keypoint_tables import new_scratch


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scratch_is_as_its_fields_say(open_skel: Skel, dtype: type[np.floating]) -> None:
    tables = open_skel.keypoint_operator.tables
    scratch = new_scratch(tables, np.dtype(dtype))
    assert len(scratch.pairs) == len(tables.pair_bone)
    assert scratch.work.arc.dtype == dtype
