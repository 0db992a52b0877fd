"""How much further off labels are than the curvature of their objective says, by angle (docs/calibration.md).

The factors are in label_spread.json, made by `tools.label_spread.build` from made people of other seeds than those that
judge them.
"""

import json
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64

from schemas.skel import Q_NAMES

SPREAD_FILE: Final = Path(__file__).with_name("label_spread.json")


@cache
def spread_factor() -> Float64[np.ndarray, "46"]:
    """At least 1, of the standard deviation of each q. Raises ValueError for a file that lists other angles."""
    stored = json.loads(SPREAD_FILE.read_text(encoding="utf-8"))["factors"]
    if tuple(stored) != Q_NAMES:
        raise ValueError(
            f"{SPREAD_FILE} does not list the 46 angles in their order: python -m tools.label_spread.build"
        )
    factor = np.array(list(stored.values()), np.float64)
    factor.flags.writeable = False
    return factor
