"""Mixture of Gaussians in mirrored pairs beside one fixed broad Gaussian, by expectation maximisation.

  p(x) = w_0 N(x; m_0, S_0) + sum_k w_k (N(x; m_k, S_k) + N(x; M m_k, M S_k M)) / 2, M the mirror, w_0 and N_0 given.

The covariance is (scatter + n_0 Psi) / (n_k + n_0) plus the noise of the conversion, Psi a multiple of the covariance
of all poses: what a component has seen too few poses to tell, it takes from all of them (the mean of an
inverse-Wishart posterior), and no direction is narrower than the conversion is exact. What comes out is as narrow as
the few people of the clips are alike; all but the broad component are widened for everybody else.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Mirror:
    """x -> sign * x[source] of the D angles of a mixture."""

    source: Tensor
    sign: Tensor

    def of(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Mirror images."""
        return self.sign * x[:, self.source]

    def of_matrices(self, x: Float[Tensor, "K D D"]) -> Float[Tensor, "K D D"]:
        """M x M."""
        return self.sign[:, None] * self.sign * x[:, self.source][:, :, self.source]


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """pairs: components, each with its mirror image; the broad component is not counted."""

    pairs: int
    broad_weight: float = 0.1
    prior_share: float = 1.0  # standard deviation of Psi, over that of all poses
    prior_count: float = 20.0  # poses that Psi counts for
    noise: float = 0.05  # rad, that the conversion may be off
    widening: float = 1.5  # of the finished standard deviations, for people who are not those of the clips
    iterations: int = 60
    seed: int = 0


@dataclass(frozen=True)
class Mixture:
    """broad_mean, broad_std (D,) rad; of K pairs: weight (K,), sums to 1 - broad_weight; mean (K, D); cov (K, D, D)."""

    broad_mean: Tensor
    broad_std: Tensor
    broad_weight: float
    mirror: Mirror
    weight: Tensor
    mean: Tensor
    cov: Tensor

    def log_terms(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B 2*K+1"]:
        """log (weight x density) of the broad component, the K components and their K mirror images."""
        broad = torch.distributions.Normal(self.broad_mean, self.broad_std).log_prob(x).sum(1, keepdim=True)
        broad = broad + x.new_tensor(self.broad_weight).log()
        own, twin = self._log_densities(x), self._log_densities(self.mirror.of(x))
        return torch.cat([broad, own + (self.weight / 2).log(), twin + (self.weight / 2).log()], 1)

    def log_density(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """log p(x), in nats."""
        return self.log_terms(x).logsumexp(1)

    def _log_densities(self, x: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(self.cov)
        solved = torch.linalg.solve_triangular(factor, (x[None] - self.mean[:, None]).mT, upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = x.shape[1] / 2 * torch.log(x.new_tensor(2 * torch.pi))
        return (-solved.square().sum(1) / 2 - log_det[:, None] - constant).mT


def fit_mixture(
    x: Float[Tensor, "B D"], broad_mean: Tensor, broad_std: Tensor, mirror: Mirror, config: MixtureConfig
) -> Mixture:
    """The mixture of the poses and their mirror images."""
    mean = _spread_out(x, mirror, config)
    psi = config.prior_share**2 * torch.cov(torch.cat([x, mirror.of(x)]).mT)
    weight = x.new_full((config.pairs,), (1 - config.broad_weight) / config.pairs)
    cov = (torch.diag(broad_std**2) / 4).expand(config.pairs, -1, -1)
    mixture = Mixture(broad_mean, broad_std, config.broad_weight, mirror, weight, mean, cov)
    for _ in range(config.iterations):
        mixture = _improved(mixture, x, psi, config)
    return replace(mixture, cov=config.widening**2 * mixture.cov)


def _improved(mixture: Mixture, x: Tensor, psi: Tensor, config: MixtureConfig) -> Mixture:
    """One round: whose pose is it, then weight, mean and covariance of each component and its mirror image at once."""
    share = mixture.log_terms(x).softmax(1)[:, 1:]
    share = torch.cat(share.split(config.pairs, 1))  # (2 B, K): the poses, then their mirror images
    both = torch.cat([x, mixture.mirror.of(x)])
    count = share.sum(0)
    mean = share.mT @ both / count.clamp_min(1e-9)[:, None]
    away = both[None] - mean[:, None]
    scatter = (away * share.mT[..., None]).mT @ away
    noise = config.noise**2 * torch.eye(x.shape[1], dtype=x.dtype)
    cov = (scatter + config.prior_count * psi) / (count + config.prior_count)[:, None, None] + noise
    weight = (1 - config.broad_weight) * (count + 1) / (count + 1).sum()
    return replace(mixture, weight=weight, mean=mean, cov=cov)


def _spread_out(x: Tensor, mirror: Mirror, config: MixtureConfig) -> Tensor:
    """k-means++ seeds (K, D): each drawn with a chance that grows with the squared distance to those before it."""
    generator = torch.Generator().manual_seed(config.seed)
    chosen = [x[int(torch.randint(len(x), (1,), generator=generator))]]
    nearest = x.new_full((len(x),), torch.inf)
    for _ in range(config.pairs - 1):
        for seed in (chosen[-1], mirror.of(chosen[-1][None])[0]):
            nearest = torch.minimum(nearest, (x - seed).square().sum(1))
        chosen.append(x[int(torch.multinomial(nearest, 1, generator=generator))])
    return torch.stack(chosen)
