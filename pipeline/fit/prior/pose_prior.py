"""A density over SKEL's limited angles q[3:]: a mixture of Gaussians learned from motion capture.

  p(q) = w_0 N(q; m_0, S_0) + sum_k w_k N(q; m_k, S_k)

The first Gaussian is as wide as the joint ranges allow, so that -log p(q) is never more than -log w_0 N_0(q): a pose
unlike any motion is pulled by that one alone, as if nothing had been learned. The others come in mirrored pairs. The
pelvis (q[:3]) is left out: in the camera's axes nobody knows which way is up. What it is made of: PROVENANCE.md.
"""

from dataclasses import dataclass, replace
from functools import cache
from math import log, pi
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit.prior.mixture_file import components, read_mixture
from schemas.skel import N_Q, N_UNLIMITED, q_limits


class QuadraticBound(NamedTuple):
    """anchor (B, 46) rad and precision (B, 46, 46) rad^-2, both of no effect on the pelvis: see `PosePrior.bound`."""

    anchor: Float[Tensor, "B 46"]
    precision: Float[Tensor, "B 46 46"]


@dataclass(frozen=True)
class PosePrior:
    """C Gaussians, the broad one first, then by falling weight: log_weight (C,), mean (C, 46) rad, and the upper
    triangular whitening U (C, 43, 43) with U^T U = precision of q[3:].

    >>> prior = PosePrior.load()
    >>> prior.energy(q)   # q (B, 46) rad
    """

    log_weight: Float[Tensor, "C"]
    mean: Float[Tensor, "C 46"]
    whitening: Float[Tensor, "C 43 43"]

    @classmethod
    def load(cls, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Self:
        """The prior that ships with the package. Raises FileNotFoundError when it is not there."""
        weight, mean, covariance = components(read_mixture(), torch.float64)
        whitening = torch.linalg.cholesky(torch.linalg.inv(covariance)).mT
        return cls(*(x.to(device=device, dtype=dtype) for x in (weight.log(), mean, whitening)))

    def widened(self, factor: float) -> Self:
        """All but the broad Gaussian `factor` times as wide: for poses less like those of the clips."""
        whitening = torch.cat([self.whitening[:1], self.whitening[1:] / factor])
        return replace(self, whitening=whitening)

    def energy(self, q: Float[Tensor, "B 46"]) -> Float[Tensor, "B"]:
        """-log p(q) in nats: half of what a sum of squared standard deviations would be. May be negative."""
        return -self._log_terms(q).logsumexp(1)

    def broad_energy(self, q: Float[Tensor, "B 46"]) -> Float[Tensor, "B"]:
        """-log w_0 N_0(q): the energy of the broad Gaussian alone, never less than `energy`."""
        return -self._log_terms(q)[:, 0]

    @property
    def least(self) -> float:
        """A lower bound of the energy anywhere: what it would be if all means coincided."""
        return float(-(self.log_weight + self._log_peaks()).logsumexp(0))

    def responsibilities(self, q: Float[Tensor, "B 46"]) -> Float[Tensor, "B C"]:
        """Which Gaussian the pose is from, each row a distribution; column 0 is the broad one."""
        return self._log_terms(q).softmax(1)

    def gradient(self, q: Float[Tensor, "B 46"]) -> Float[Tensor, "B 46"]:
        """d energy / dq = sum_k r_k S_k^-1 (q - m_k), zero for the pelvis."""
        pull = self.responsibilities(q)[:, :, None] * self._whitened(q)
        gradient = torch.einsum("bci,cij->bj", pull, self.whitening)
        return torch.cat([torch.zeros_like(q[:, :N_UNLIMITED]), gradient], 1)

    def bound(self, q: Float[Tensor, "B 46"]) -> QuadraticBound:
        """The quadratic that touches the energy at q and lies above it everywhere else (Jensen's inequality):

        energy(x) <= energy(q) + ((x - a)^T P (x - a) - (q - a)^T P (q - a)) / 2, P = sum_k r_k(q) S_k^-1.

        Minimising it instead, again and again, never raises the energy; P is positive definite but for the pelvis.
        """
        share = self.responsibilities(q)
        precision = torch.einsum("bc,cij->bij", share, self.whitening.mT @ self.whitening)
        step = torch.linalg.solve(precision, self.gradient(q)[:, N_UNLIMITED:])
        anchor = torch.cat([q[:, :N_UNLIMITED], q[:, N_UNLIMITED:] - step], 1)
        full = q.new_zeros(len(q), N_Q, N_Q)
        full[:, N_UNLIMITED:, N_UNLIMITED:] = precision
        return QuadraticBound(anchor, full)

    def modes(self) -> Float[Tensor, "K 46"]:
        """Means of all but the broad Gaussian inside the joint limits, by falling weight, pelvis zero; mirror images
        follow one another.
        """
        return _inside_limits(self.mean[1:])

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "N 46"]:
        """Poses drawn from the mixture and moved inside the joint limits, pelvis zero. The generator is a CPU one."""
        component = torch.multinomial(self.log_weight.exp().cpu(), count, replacement=True, generator=generator)
        normal = torch.randn(count, N_Q - N_UNLIMITED, 1, generator=generator, dtype=torch.float64).to(self.mean)
        component = component.to(self.mean.device)
        away = torch.linalg.solve_triangular(self.whitening[component], normal, upper=True).squeeze(-1)
        mean = self.mean[component]
        return _inside_limits(torch.cat([mean[:, :N_UNLIMITED], mean[:, N_UNLIMITED:] + away], 1))

    def _whitened(self, q: Tensor) -> Tensor:
        """U_k (q - m_k), (B, C, 43)."""
        away = q[:, None, N_UNLIMITED:] - self.mean[:, N_UNLIMITED:]
        return torch.einsum("cij,bcj->bci", self.whitening, away)

    def _log_terms(self, q: Tensor) -> Tensor:
        return self.log_weight + self._log_peaks() - self._whitened(q).square().sum(-1) / 2

    def _log_peaks(self) -> Tensor:
        log_det = self.whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det - (N_Q - N_UNLIMITED) / 2 * log(2 * pi)


def implausibility(q: Float[Tensor, "B 46"]) -> Float[Tensor, "B"]:
    """Energy of the stored prior above the least that any pose could have, nats: 0 or more, the pelvis of no account.

    docs/pose_prior.md has those of standing, extreme and wrong poses.
    """
    prior = _stored(q.dtype, str(q.device))
    return prior.energy(q) - prior.least


@cache
def _stored(dtype: torch.dtype, device: str) -> PosePrior:
    return PosePrior.load(dtype, device)


def _inside_limits(q: Tensor) -> Tensor:
    low, high = (torch.as_tensor(limit).to(q) for limit in q_limits())
    return q.clamp(low, high)
