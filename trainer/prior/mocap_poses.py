"""Motion capture as SKEL poses: the real examples of the adversarial prior.

Files as HSMR's mocap loader reads them: npz with `poses` (N, 46) q rad, `betas` (N, 10), `pve_max` (N,) m, the largest
vertex error of the conversion from SMPL. The pelvis (first three q) is not used: any orientation is plausible.
"""

import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pipeline.storage.opening import storage_of_file
from schemas.skel import N_BETAS, N_Q

MAX_PVE: Final = 0.05
"""m; frames that were converted worse are left out, as HSMR does."""


class MocapError(ValueError):
    """A motion file cannot be used; the message names it and says what it should hold."""


@dataclass(frozen=True, slots=True)
class MocapPoses:
    """Real poses q (N, 46) rad and shapes betas (N, 10), float32; dropped: frames not finite or badly converted."""

    q: Float[Tensor, "N 46"]
    betas: Float[Tensor, "N 10"]
    dropped: int

    def __len__(self) -> int:
        return len(self.q)

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Float[Tensor, "count 46"], Float[Tensor, "count 10"]]:
        """Poses and shapes of `count` frames, with replacement; the same for the same (seed, step)."""
        chosen = np.random.default_rng([seed, step]).integers(len(self), size=count)
        rows = torch.from_numpy(chosen)
        return self.q[rows], self.betas[rows]


def load_mocap(addresses: Iterable[str]) -> MocapPoses:
    """All frames of npz files, local or s3://. Raises MocapError, FileNotFoundError."""
    files = [_read(address) for address in addresses]
    frames = np.concatenate([frames for frames, _ in files]) if files else np.empty((0, N_Q + N_BETAS), np.float32)
    if not len(frames):
        raise MocapError("the adversarial prior has no motion to learn from. Name npz files in prior.mocap.")
    q, betas = torch.from_numpy(frames).split([N_Q, N_BETAS], 1)
    return MocapPoses(q, betas, sum(dropped for _, dropped in files))


def _read(address: str) -> tuple[NDArray[np.float32], int]:
    """(N, 56) usable frames q and betas, and how many were not."""
    storage, name = storage_of_file(address)
    data = storage.read(name)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key], np.float32) for key in ("poses", "betas", "pve_max")}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MocapError(
            f"{address} is not a SKEL motion file ({error}). Expected npz with poses (N, 46), betas (N, 10) and "
            "pve_max (N,)."
        ) from error
    count = len(arrays["poses"]) if arrays["poses"].ndim else 0
    expected = {"poses": (count, N_Q), "betas": (count, N_BETAS), "pve_max": (count,)}
    for key, shape in expected.items():
        if arrays[key].shape != shape:
            raise MocapError(
                f"{key} of {address} has shape {arrays[key].shape}, expected {shape}. Turn SMPL motions into "
                "SKEL poses with pipeline.fit.SmplToSkel first."
            )
    frames = np.concatenate([arrays["poses"], arrays["betas"]], 1)
    usable = np.isfinite(frames).all(1) & (arrays["pve_max"] < MAX_PVE)  # a NaN error is not below
    return frames[usable], int((~usable).sum())
