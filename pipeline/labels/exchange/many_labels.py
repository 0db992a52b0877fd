"""Labels of many people as arrays that actors share, found by who they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from schemas.gender import Gender
from schemas.person import PersonId


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyLabels:
    """q (N, 46) rad, betas (N, 10), and their figures as in HsmrLabel, (N,); smpl_pve_max_mm, gender None: not told.

    identity: which of dataset, shard, key and person the source tells; rows: these, as text, to the row.
    """

    identity: tuple[str, ...]
    rows: Mapping[tuple[str, ...], int]
    q: Float32[np.ndarray, "N 46"]
    betas: Float32[np.ndarray, "N 10"]
    pve_max: Float64[np.ndarray, "N"]
    kp2d_err: Float64[np.ndarray, "N"]
    smpl_pve_max_mm: Float64[np.ndarray, "N"] | None
    gender: Sequence[Gender | None] | None = None

    def label(self, person: PersonId) -> HsmrLabel | None:
        """The label of a person, None if there is none."""
        values = {"dataset": person.dataset, "shard": person.shard, "key": person.key, "person": str(person.person)}
        row = self.rows.get(tuple(values[name] for name in self.identity))
        if row is None:
            return None
        return HsmrLabel(
            q=self.q[row],
            betas=self.betas[row],
            pve_max=float(self.pve_max[row]),
            kp2d_err=float(self.kp2d_err[row]),
            smpl_pve_max_mm=None if self.smpl_pve_max_mm is None else float(self.smpl_pve_max_mm[row]),
            gender=None if self.gender is None else self.gender[row],
        )
