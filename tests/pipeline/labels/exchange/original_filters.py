"""The rules by which the original takes a label or drops it, stated again from what is published of its loaders."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

PVE_BOUND: Final = 0.06  # m, of the loader of the tars
PRIOR_BOUND: Final = 0.05  # m, of the motion prior
BETAS_BOUND: Final = 3.0


def taken_from_tar(person: Mapping[str, Any], prefix: str) -> bool:
    """Does the loader teach the label `prefix` (`orig`, `flip`) of a person? The rules in its order, with its trap."""
    poses, betas = person[f"{prefix}_poses"], person[f"{prefix}_betas"]
    has = {name: bool(person[f"{prefix}_has_{name}"] > 0) for name in ("poses", "betas")}
    if np.isnan(poses).any() or np.isnan(betas).any():
        poses, betas = np.zeros_like(poses), np.zeros_like(betas)
        has = dict.fromkeys(has, False)
    pve = person[f"{prefix}_pve_max"]
    has = dict.fromkeys(has, bool(pve < PVE_BOUND and not np.isnan(pve)))  # whatever was found before
    return all(has.values()) and bool((np.abs(betas) <= BETAS_BOUND).all())


def taken_from_npz(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,): which poses the motion prior keeps."""
    return arrays["pve_max"] < PRIOR_BOUND
