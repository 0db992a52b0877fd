"""The stored prior: one component of each mirrored pair, over the angles that the motion tells, and the broad one."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from schemas.skel import N_Q, N_UNLIMITED

PRIOR_FILE: Final = Path(__file__).with_name("pose_prior.npz")


class StoredMixture(NamedTuple):
    """As stored, in float32: broad_weight (); broad_mean, broad_std (46,) rad; of K pairs over D angles: weight (K,) of
    both together, mean (K, D), covariance (K, D, D); told (D,) int: which q; mirror_source, mirror_sign (46,).
    """

    broad_weight: Float[Tensor, ""]
    broad_mean: Float[Tensor, "46"]
    broad_std: Float[Tensor, "46"]
    weight: Float[Tensor, "K"]
    mean: Float[Tensor, "K D"]
    covariance: Float[Tensor, "K D D"]
    told: Int[Tensor, "D"]
    mirror_source: Int[Tensor, "46"]
    mirror_sign: Shaped[Tensor, "46"]


class Components(NamedTuple):
    """Of C Gaussians over q, the broad one first, then each with its mirror image by falling weight: weight (C,), sums
    to 1; mean (C, 46) rad; covariance (C, 43, 43) of the limited angles q[3:].
    """

    weight: Float[Tensor, "C"]
    mean: Float[Tensor, "C 46"]
    covariance: Float[Tensor, "C 43 43"]


def read_mixture(path: Path = PRIOR_FILE) -> StoredMixture:
    """Raises FileNotFoundError saying how to build the file."""
    if not path.is_file():
        raise FileNotFoundError(f"no pose prior at {path}; install the package again, or run tools.pose_prior.build")
    with np.load(path, allow_pickle=False) as stored:
        return StoredMixture(*(torch.as_tensor(stored[name]) for name in StoredMixture._fields))


def write_mixture(mixture: StoredMixture, path: Path) -> None:
    """Smaller types where nothing is lost."""
    arrays = {name: value.numpy() for name, value in mixture._asdict().items()}
    small = {name: x.astype(np.float32) if x.dtype == np.float64 else x.astype(np.int64) for name, x in arrays.items()}
    np.savez_compressed(path, allow_pickle=False, **small)  # pyrefly: ignore[bad-argument-type]


def components(stored: StoredMixture, dtype: torch.dtype) -> Components:
    """All Gaussians over the whole q: angles that the motion does not tell are as wide as the broad one's, by
    themselves. The broad mean and width are their own mirror images.
    """
    order = stored.weight.double().argsort(descending=True, stable=True)
    mean = stored.broad_mean.double().repeat(len(order), 1)
    mean[:, stored.told] = stored.mean.double()[order]
    covariance = torch.diag(stored.broad_std.double() ** 2).repeat(len(order), 1, 1)
    rows = stored.told[:, None]
    covariance[:, rows, rows.mT] = stored.covariance.double()[order]
    source, sign = stored.mirror_source, stored.mirror_sign.double()
    twin = sign[:, None] * sign * covariance[:, source][:, :, source]
    both_means = torch.stack([mean, sign * mean[:, source]], 1).reshape(-1, N_Q)
    both = torch.stack([covariance, twin], 1).reshape(-1, N_Q, N_Q)
    weight = stored.weight.double()[order].repeat_interleave(2) / 2
    weight = weight * (1 - stored.broad_weight.double()) / weight.sum()
    broad = torch.diag(stored.broad_std.double() ** 2)[None]
    limited = torch.cat([broad, both])[:, N_UNLIMITED:, N_UNLIMITED:]
    means = torch.cat([stored.broad_mean.double()[None], both_means])
    return Components(
        torch.cat([stored.broad_weight.double()[None], weight]).to(dtype), means.to(dtype), limited.to(dtype)
    )
