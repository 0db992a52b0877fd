"""The shipped pose prior: a density with a right gradient, a bound that touches it, and no pull of its own far away."""

import hashlib
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.fit.prior import PosePrior, implausibility
from pipeline.fit.prior.mixture_file import PRIOR_FILE, read_mixture
from pipeline.fit.starts.mean_pose import folded_q, mean_q
from schemas.skel import N_Q, N_UNLIMITED, Q_NAMES, q_limits
from tests.repository import ROOT

FOLDER = ROOT / "pipeline" / "fit" / "prior"
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def prior() -> PosePrior:
    return PosePrior.load()


def poses(seed: int, count: int = 8) -> Tensor:
    """Half anywhere in the joint ranges, half from the prior, turned any way."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    anywhere = low + (high - low) * torch.rand(count // 2, N_Q, generator=generator, dtype=torch.float64)
    drawn = PosePrior.load().sample(count - count // 2, generator)
    drawn[:, :N_UNLIMITED] = anywhere[0, :N_UNLIMITED]
    return torch.cat([anywhere, drawn])


def mirror(q: Tensor) -> Tensor:
    stored = read_mixture()
    return stored.mirror_sign.to(q) * q[:, stored.mirror_source]


def test_file_is_the_one_its_provenance_records() -> None:
    recorded = re.search(
        r"digest of `pose_prior.npz` \| `([0-9a-f]{64})`", (FOLDER / "PROVENANCE.md").read_text("utf-8")
    )
    assert recorded is not None
    assert hashlib.sha256(PRIOR_FILE.read_bytes()).hexdigest() == recorded[1]


def test_file_is_small_and_holds_no_pickle() -> None:
    assert PRIOR_FILE.stat().st_size < 300e3
    with np.load(PRIOR_FILE, allow_pickle=False) as archive:
        assert {archive[name].dtype.str for name in archive.files} == {"<f4", "<i8"}


def test_weights_sum_to_one_and_the_broad_one_is_a_tenth(prior: PosePrior) -> None:
    weight = prior.log_weight.exp()
    assert weight.sum().item() == pytest.approx(1, abs=1e-9)
    assert weight[0].item() == pytest.approx(0.1, abs=1e-6)
    assert (weight[1:].diff() <= 1e-12).all()


@given(seed=SEEDS)
def test_energy_is_the_negative_log_of_the_mixture(prior: PosePrior, seed: int) -> None:
    q = poses(seed)
    terms = []
    for log_weight, mean, factor in zip(prior.log_weight, prior.mean, prior.whitening, strict=True):
        density = torch.distributions.MultivariateNormal(mean[3:], precision_matrix=factor.mT @ factor)
        terms.append(log_weight + density.log_prob(q[:, 3:]))
    torch.testing.assert_close(prior.energy(q), -torch.stack(terms).logsumexp(0), rtol=1e-8, atol=1e-6)


@given(seed=SEEDS)
def test_gradient_is_that_of_the_energy(prior: PosePrior, seed: int) -> None:
    q, step = poses(seed), 1e-5
    moved = torch.eye(N_Q, dtype=q.dtype) * step
    both = torch.stack([prior.energy((q[:, None] + side * moved).reshape(-1, N_Q)) for side in (1, -1)])
    numerical = (both[0] - both[1]).reshape(-1, N_Q) / (2 * step)
    torch.testing.assert_close(prior.gradient(q), numerical, rtol=1e-5, atol=1e-5)


@given(seed=SEEDS)
def test_bound_touches_the_energy_and_lies_above_it(prior: PosePrior, seed: int) -> None:
    q, elsewhere = poses(seed), poses(seed + 1)
    bound, energy = prior.bound(q), prior.energy(q)
    torch.testing.assert_close(
        (bound.precision @ (q - bound.anchor)[..., None]).squeeze(-1), prior.gradient(q), rtol=1e-6, atol=1e-6
    )

    def quadratic(x: Tensor) -> Tensor:
        away = (x - bound.anchor)[..., None]
        return (away.mT @ bound.precision @ away).reshape(-1) / 2

    for x in (elsewhere, q + 0.1 * (elsewhere - q), bound.anchor):
        assert (prior.energy(x) <= energy + quadratic(x) - quadratic(q) + 1e-6).all()
    assert (torch.linalg.eigvalsh(bound.precision[:, 3:, 3:]) > 0).all()
    assert (bound.precision[:, :3] == 0).all()
    assert torch.equal(bound.anchor[:, :3], q[:, :3])


def test_steps_to_the_anchor_never_raise_the_energy(prior: PosePrior) -> None:
    q = poses(3, 32)
    for _ in range(20):
        lower = prior.bound(q).anchor
        assert (prior.energy(lower) <= prior.energy(q) + 1e-9).all()
        q = lower


@given(seed=SEEDS)
def test_a_mirror_image_is_as_likely(prior: PosePrior, seed: int) -> None:
    q = poses(seed)
    torch.testing.assert_close(prior.energy(mirror(q)), prior.energy(q), rtol=1e-5, atol=1e-4)


@given(seed=SEEDS)
def test_the_pelvis_does_not_matter(prior: PosePrior, seed: int) -> None:
    q = poses(seed)
    turned = q.clone()
    turned[:, :3] += 1.0
    assert torch.equal(prior.energy(turned), prior.energy(q))
    assert (prior.gradient(q)[:, :3] == 0).all()


@given(seed=SEEDS)
def test_no_pose_is_less_likely_than_the_broad_gaussian_has_it(prior: PosePrior, seed: int) -> None:
    q = poses(seed)
    assert (prior.energy(q) <= prior.broad_energy(q) + 1e-9).all()
    assert (prior.energy(q) >= prior.least).all()


def test_poses_unlike_any_motion_are_pulled_by_the_broad_gaussian_alone(prior: PosePrior) -> None:
    """Anywhere in 90 % of the joint ranges: most are mostly its own, nine in ten are pulled hardly more strongly."""
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    share = 0.05 + 0.9 * torch.rand(512, N_Q, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = low + share * (high - low)
    broad, gradient = prior.responsibilities(q)[:, 0], prior.gradient(q)[:, 3:]
    pull = (q - prior.mean[0])[:, 3:] @ (prior.whitening[0].mT @ prior.whitening[0])
    assert (broad > 0.5).double().mean() > 0.85
    alone = broad > 1 - 1e-6
    assert alone.double().mean() > 0.4
    assert ((gradient - pull)[alone].norm(dim=1) < 1e-3 * pull[alone].norm(dim=1)).all()
    assert (gradient.norm(dim=1) / pull.norm(dim=1)).quantile(0.9) < 1.4


@pytest.mark.parametrize("size", [10.0, 1e3, 1e6])
def test_far_away_it_stays_finite(prior: PosePrior, size: float) -> None:
    q = size * torch.randn(16, N_Q, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    bound = prior.bound(q)
    for value in (prior.energy(q), prior.gradient(q), bound.anchor, bound.precision):
        assert torch.isfinite(value).all()


def test_no_direction_is_narrower_than_the_conversion_is_exact(prior: PosePrior) -> None:
    precision = prior.whitening.mT @ prior.whitening
    assert torch.linalg.eigvalsh(precision).amax() < 1.01 * 0.05**-2


def test_what_the_motion_does_not_tell_is_as_wide_as_the_broad_gaussian(prior: PosePrior) -> None:
    precision = prior.whitening.mT @ prior.whitening
    for name in ("wrist_flexion_r", "pro_sup_l", "scapula_abduction_r", "mtp_angle_l", "subtalar_angle_r"):
        index = Q_NAMES.index(name) - N_UNLIMITED
        torch.testing.assert_close(precision[:, index], precision[:1, index].expand(len(precision), -1))
        torch.testing.assert_close(prior.mean[:, index + 3], prior.mean[:1, index + 3].expand(len(precision)))


def test_standing_is_likelier_than_what_nobody_does(prior: PosePrior) -> None:
    energy = prior.energy(torch.stack([mean_q(), folded_q()]))
    anywhere = prior.energy(poses(4, 400)[:200])
    assert energy[0] < energy[1] < anywhere.quantile(0.05)


def test_modes_come_in_mirrored_pairs_inside_the_limits(prior: PosePrior) -> None:
    modes = prior.modes()
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    assert modes.shape == (len(prior.log_weight) - 1, N_Q)
    assert ((modes >= low) & (modes <= high)).all()
    assert (modes[:, :3] == 0).all()
    torch.testing.assert_close(mirror(prior.mean[1::2]), prior.mean[2::2], rtol=0, atol=1e-6)


def test_samples_are_those_of_the_mixture(prior: PosePrior) -> None:
    drawn = prior.sample(20000, torch.Generator().manual_seed(5))
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    assert ((drawn >= low) & (drawn <= high)).all()
    mean = (prior.log_weight.exp()[:, None] * prior.mean).sum(0)
    inside = [Q_NAMES.index(name) for name in ("shoulder_r_y", "lumbar_twist", "head_bending", "hip_rotation_l")]
    torch.testing.assert_close(drawn.mean(0)[inside], mean[inside], rtol=0, atol=0.02)
    again = prior.sample(20000, torch.Generator().manual_seed(5))
    assert torch.equal(drawn, again)


def test_widened_it_is_still_a_density_with_the_same_broad_gaussian(prior: PosePrior) -> None:
    wide, q = prior.widened(2.0), poses(11, 16)
    torch.testing.assert_close(wide.broad_energy(q), prior.broad_energy(q))
    torch.testing.assert_close(wide.mean, prior.mean)
    at_means = wide.energy(wide.mean[1:]) - prior.energy(prior.mean[1:])
    assert (at_means > 0).all()
    assert at_means.max() < 43 * np.log(2.0) + 1e-6
    torch.testing.assert_close(prior.widened(1.0).energy(q), prior.energy(q))


def test_float32_says_the_same(prior: PosePrior) -> None:
    q = poses(9, 16)
    single = PosePrior.load(dtype=torch.float32)
    torch.testing.assert_close(single.energy(q.float()).double(), prior.energy(q), rtol=1e-3, atol=1e-2)


def test_an_empty_batch_is_fine(prior: PosePrior) -> None:
    nobody = torch.zeros(0, N_Q, dtype=torch.float64)
    assert prior.energy(nobody).shape == (0,)
    assert prior.bound(nobody).precision.shape == (0, N_Q, N_Q)


def test_implausibility_is_never_negative_and_grows_with_strangeness() -> None:
    q = poses(13, 64)
    found = implausibility(q)
    assert (found >= 0).all()
    assert found[:32].median() > found[32:].median() + 10, "anywhere in the ranges is stranger than what people do"
    turned = q.clone()
    turned[:, :N_UNLIMITED] += 1
    assert torch.equal(implausibility(turned), found)
    torch.testing.assert_close(implausibility(q.float()).double(), found, rtol=1e-3, atol=1e-2)
