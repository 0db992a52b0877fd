"""What exports say of how well a label was fitted, in the field by which the original's loaders take or drop it."""

from typing import Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from pipeline.labels.files.columns import figures, one_of
from schemas.labels import StartSource, is_poor_fit

MM_PER_M: Final = 1000.0
TAKEN_BELOW_IN_TARS: Final = 0.06
"""m, `pve_max` below which HSMR's loader takes a label; what is not known it drops."""
TAKEN_BELOW_IN_NPZ: Final = 0.05
"""m, the same of its motion prior."""
FITTING_COLUMNS: Final = ("decision", "start_source", "pve_max_mm")
_DROPPED: Final = 1.0  # m
_ROUNDING: Final = 1e-4  # m; a figure so near to the bound could be taken in float32


def fitting_loss(table: pa.Table, taken_below: float) -> Float64[np.ndarray, "N"]:
    """`pve_max` (N,) m of the rows of FITTING_COLUMNS, for a loader that takes what lies below `taken_below` (m).

    The original means the loss of the conversion, the only way by which it gets labels, and so a sign of a bad one. A
    refined label may lie far from its pseudo-label because it is better. So: what was converted (or imported) has its
    own residual, if that passes; a poor fit has one that does not; every other label has 0.
    """
    residual = figures(table["pve_max_mm"]) / MM_PER_M
    poor = is_poor_fit(
        np.array(table["decision"].to_pylist()), np.array(table["start_source"].to_pylist()), residual * MM_PER_M
    )
    converted = one_of(table["start_source"], [StartSource.SMPL.value, StartSource.IMPORTED.value])
    taken = np.where(converted & (residual < taken_below - _ROUNDING), residual, 0.0)
    return np.where(poor, np.where(residual > taken_below + _ROUNDING, residual, _DROPPED), taken)
