"""OpenSim motion files (.mot): joint angles over time under BSM's coordinate names, degrees, and the pelvis in m.

SKEL's q are BSM's coordinates: same names, same numbers, since the signs of SKEL's axes are BSM's. How they have to be
composed is in `pipeline.export.coordinate_order`, the axes of the pelvis in `pipeline.export.upright_axes`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from schemas.skel import N_Q, N_UNLIMITED, Q_NAMES

PELVIS_TRANSLATIONS: Final = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
COORDINATES: Final = (*Q_NAMES[:N_UNLIMITED], *PELVIS_TRANSLATIONS, *Q_NAMES[N_UNLIMITED:])
"""Columns after `time`, ordered as in an OpenSim model: the pelvis' angles, its translations, the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """One person over time: times (T,) s, increasing; q (T, 46) rad and pelvis (T, 3) m, both in ground axes."""

    name: str
    times: Float[np.ndarray, "T"]
    q: Float[np.ndarray, "T 46"]
    pelvis: Float[np.ndarray, "T 3"]

    def __post_init__(self) -> None:
        count = len(self.times)
        if not count or self.q.shape != (count, N_Q) or self.pelvis.shape != (count, 3):
            shapes = (self.times.shape, self.q.shape, self.pelvis.shape)
            raise ValueError(
                f"motion {self.name!r}: expected times (T,), q (T, 46), pelvis (T, 3), T > 0; met {shapes}"
            )
        if not all(np.isfinite(values).all() for values in (self.times, self.q, self.pelvis)):
            raise ValueError(f"motion {self.name!r} holds NaN or infinity; leave such frames out")
        if not (np.diff(self.times) > 0).all():
            raise ValueError(f"motion {self.name!r}: times must increase from row to row; sort the frames by time")


def motion_file(motion: Motion) -> bytes:
    """The content of a .mot file. Pelvis angles do not jump by full turns from one row to the next.

    Nine decimals: angles come back to 1e-9 degrees, places to a nanometre.
    """
    degrees = np.degrees(np.asarray(motion.q, np.float64))
    turns, rest = np.unwrap(degrees[:, :N_UNLIMITED], period=360.0, axis=0), degrees[:, N_UNLIMITED:]
    rows = np.column_stack([motion.times, turns, motion.pelvis, rest])
    lines = [
        motion.name.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " "),
        "version=1",
        f"nRows={len(rows)}",
        f"nColumns={rows.shape[1]}",
        "inDegrees=yes",
        "",
        "Angles in degrees, translations in m; axes: x forward, y up, z right of a person who faces the camera.",
        "endheader",
        "\t".join(("time", *COORDINATES)),
        *("\t".join(f"{value:.9f}" for value in row) for row in rows),
    ]
    return ("\n".join(lines) + "\n").encode()
