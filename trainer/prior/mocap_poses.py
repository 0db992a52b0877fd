"""Motion capture as poses of the network's body: the real examples of the adversarial prior.

Files as the mocap loaders of HSMR and HMR2.0 read them, npz with `betas` (N, 10) and, of SKEL, `poses` (N, 46) q rad
and `pve_max` (N,) m, the largest vertex error of the conversion from SMPL; of SMPL, `body_pose` (N, 72) axis-angles
rad.
The pelvis is not used: any orientation is plausible.
"""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pipeline.body.representation import q_to_rotations
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.storage.opening import storage_of_file
from schemas.skel import N_BETAS, N_JOINTS, N_Q
from trainer.network.variants import NetworkHead

MAX_PVE: Final = 0.05
"""m; frames that were converted worse are left out, as HSMR does."""
_N_SMPL: Final = 3 * N_JOINTS


class MocapError(ValueError):
    """A motion file cannot be used; the message names it and says what it should hold."""


class RealPoses(Protocol):
    """Poses that somebody took."""

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Float[Tensor, "count P"], Float[Tensor, "count 10"]]:
        """Poses and shapes of `count` frames, with replacement; the same for the same (seed, step)."""
        ...

    def rotations(self, pose: Float[Tensor, "B P"]) -> Float[Tensor, "B 24 3 3"]:
        """Of the joints, as the network's output has them."""
        ...


@dataclass(frozen=True, slots=True)
class MocapPoses:
    """Real poses q (N, 46) rad and shapes betas (N, 10), float32; dropped: frames not finite or badly converted."""

    q: Float[Tensor, "N 46"]
    betas: Float[Tensor, "N 10"]
    dropped: int

    def __len__(self) -> int:
        return len(self.q)

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Float[Tensor, "count 46"], Float[Tensor, "count 10"]]:
        """See `RealPoses`."""
        rows = _drawn(len(self), count, seed, step)
        return self.q[rows], self.betas[rows]

    def rotations(self, pose: Float[Tensor, "B 46"]) -> Float[Tensor, "B 24 3 3"]:
        """See `RealPoses`."""
        return q_to_rotations(pose)


@dataclass(frozen=True, slots=True)
class SmplMocapPoses:
    """The same of SMPL: pose (N, 72), axis-angles rad."""

    pose: Float[Tensor, "N 72"]
    betas: Float[Tensor, "N 10"]
    dropped: int

    def __len__(self) -> int:
        return len(self.pose)

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Float[Tensor, "count 72"], Float[Tensor, "count 10"]]:
        """See `RealPoses`."""
        rows = _drawn(len(self), count, seed, step)
        return self.pose[rows], self.betas[rows]

    def rotations(self, pose: Float[Tensor, "B 72"]) -> Float[Tensor, "B 24 3 3"]:
        """See `RealPoses`."""
        return axis_angle_to_matrix(pose.unflatten(1, (N_JOINTS, 3)))


def _drawn(frames: int, count: int, seed: int, step: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, step]).integers(frames, size=count))


class _Kind(NamedTuple):
    """What a motion file of a body holds: names and widths of its arrays (0: a number a frame), the pose first."""

    body: str
    widths: Mapping[str, int]
    advice: str

    @property
    def expected(self) -> str:
        return " and ".join(f"{name} {f'(N, {width})' if width else '(N,)'}" for name, width in self.widths.items())


_KINDS: Final[Mapping[NetworkHead, _Kind]] = {
    "skel": _Kind(
        "SKEL",
        {"poses": N_Q, "betas": N_BETAS, "pve_max": 0},
        "Turn SMPL motions into SKEL poses with pipeline.fit.SmplToSkel first.",
    ),
    "smpl": _Kind("SMPL", {"body_pose": _N_SMPL, "betas": N_BETAS}, "A network of SMPL learns from SMPL poses."),
}


def load_mocap(addresses: Iterable[str]) -> MocapPoses:
    """All frames of npz files of SKEL poses, local or s3://. Raises MocapError, FileNotFoundError."""
    q, betas, dropped = _load("skel", addresses)
    return MocapPoses(q, betas, dropped)


def load_smpl_mocap(addresses: Iterable[str]) -> SmplMocapPoses:
    """The same of SMPL poses."""
    pose, betas, dropped = _load("smpl", addresses)
    return SmplMocapPoses(pose, betas, dropped)


def _load(head: NetworkHead, addresses: Iterable[str]) -> tuple[Tensor, Tensor, int]:
    """Poses, shapes, and how many frames were left out."""
    files = [_read(address, _KINDS[head]) for address in addresses]
    if not sum(len(frames) for frames, _ in files):
        raise MocapError("the adversarial prior has no motion to learn from. Name npz files in prior.mocap.")
    frames = np.concatenate([frames for frames, _ in files])
    pose, betas = torch.from_numpy(frames).split([frames.shape[1] - N_BETAS, N_BETAS], 1)
    return pose, betas, sum(dropped for _, dropped in files)


def _read(address: str, kind: _Kind) -> tuple[NDArray[np.float32], int]:
    """(N, P + 10) usable frames, pose and betas, and how many were not."""
    storage, name = storage_of_file(address)
    data = storage.read(name)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key], np.float32) for key in kind.widths}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MocapError(
            f"{address} is not a {kind.body} motion file ({error}). Expected npz with {kind.expected}."
        ) from error
    pose = next(iter(arrays.values()))
    count = len(pose) if pose.ndim else 0
    for key, width in kind.widths.items():
        shape = (count, width) if width else (count,)
        if arrays[key].shape != shape:
            raise MocapError(f"{key} of {address} has shape {arrays[key].shape}, expected {shape}. {kind.advice}")
    frames = np.concatenate([pose, arrays["betas"]], 1)
    usable = np.isfinite(frames).all(1)
    if "pve_max" in arrays:
        usable &= arrays["pve_max"] < MAX_PVE  # a NaN error is not below
    return frames[usable], int((~usable).sum())
