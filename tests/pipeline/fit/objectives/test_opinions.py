"""What pseudo-label and prediction hold: robust pulls of one or two opinions, in torch and compiled alike."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import Anchor, Skelify, SkelifyConfig
from pipeline.fit.objectives.opinion import Opinion
from pipeline.fit.skelify import Problem
from pipeline.image.camera import project
from schemas.skel import N_Q, N_UNLIMITED
from tests.pipeline.body.poses import shapes, upright_poses

PEOPLE = 6
NAMES = ("cost", "gradient", "normal")


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def opinion_of(q: Tensor, betas: Tensor, seed: int) -> Opinion:
    """Off by 0.2, with standard deviations of all sizes, those of the pelvis alike."""
    std = 0.05 + 0.3 * normal(seed, len(q), 56).abs()
    std[:, :N_UNLIMITED] = std[:, :1]
    return Opinion(torch.cat([q, betas], 1) + 0.2 * normal(seed + 1, len(q), 56), std)


def problem_of(skelify: Skelify, opinions: int, blind: bool = False, std: float | None = None) -> Problem:
    """Six people some way from what they are held to, the last two from the mean pose; blind: without keypoints."""
    q, betas = upright_poses(PEOPLE, 1), shapes(PEOPLE, 2, size=0.5)
    cam_t = torch.tensor([0.05, 0.1, 45.0], dtype=torch.float64).expand(PEOPLE, -1)
    xy = project(skelify.model.keypoints(q, betas), cam_t) + 0.004 * normal(0, PEOPLE, 44, 2)
    keypoints = torch.cat([xy, torch.full_like(xy[..., :1], 0.0 if blind else 1.0)], -1)
    said = opinion_of(q, betas, 10)
    if std is not None:
        said = said._replace(std=torch.full_like(said.std, std))
    anchor = Anchor(
        q + 0.3 * normal(3, PEOPLE, N_Q),
        torch.arange(PEOPLE) >= 4,
        betas + 0.5 * normal(4, PEOPLE, 10),
        said if opinions == 2 else None,
        torch.full((PEOPLE,), 40.0, dtype=torch.float64),
    )
    return skelify.problem(keypoints, q, betas, cam_t, anchor)


@pytest.fixture(scope="module")
def skelify(open_skel: Skel) -> Skelify:
    return Skelify(open_skel)


@pytest.mark.parametrize("opinions", [1, 2])
def test_the_compiled_form_is_the_torch_form(skelify: Skelify, opinions: int) -> None:
    problem = problem_of(skelify, opinions)
    assert problem.terms.anchor.shape == (PEOPLE, opinions, 59)
    for away in (0.0, 0.05, 1.0):
        x = problem.start + away * normal(5, PEOPLE, 59)
        ours, torchs = (
            skelify.evaluate(x, problem.terms),
            skelify.linearise(x, problem.terms, skelify.config.kernel_scale),
        )
        for name in NAMES:
            torch.testing.assert_close(getattr(ours, name), getattr(torchs, name), rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize("opinions", [1, 2])
def test_the_gradient_is_half_the_slope_of_the_cost(skelify: Skelify, opinions: int) -> None:
    """Of the holds alone and of everything; central differences along random directions."""
    for blind in (True, False):
        problem, step = problem_of(skelify, opinions, blind), 1e-6
        x = problem.start
        at = skelify.evaluate(x, problem.terms)
        for seed in range(8):
            way = normal(20 + seed, PEOPLE, 59)
            ahead, behind = (
                skelify.evaluate(skelify.orientation.retract(x, sign * step * way), problem.terms).cost
                for sign in (1, -1)
            )
            expected = 2 * (at.gradient * way).sum(1)
            torch.testing.assert_close((ahead - behind) / (2 * step), expected, rtol=1e-4, atol=1e-3)


def test_the_normal_matrix_of_the_holds_is_their_reweighted_precision(skelify: Skelify) -> None:
    """Gauss-Newton of Geman-McClure: precision over (1 + softness d^2)^2, on the diagonal, summed over opinions."""
    problem = problem_of(skelify, 2, blind=True)
    x, terms = problem.start, problem.terms
    expected = torch.zeros(PEOPLE, 59, dtype=torch.float64)
    cost = torch.zeros(PEOPLE, dtype=torch.float64)
    for k in range(2):
        anchor, precision, soft = terms.anchor[:, k], terms.precision[:, k], terms.softness[:, k, None]
        away = x - anchor
        away[:, :N_UNLIMITED] = skelify.orientation.between(x[:, :N_Q], anchor[:, :N_Q])
        squared = precision * away.square()
        turn, angles, rest = squared.split([N_UNLIMITED, N_Q - N_UNLIMITED, 13], 1)
        turn_half, half = 1 / (1 + soft * turn.sum(1, keepdim=True)), 1 / (1 + soft * angles)
        cost += (turn_half * turn).sum(1) + (half * angles).sum(1) + rest.sum(1)
        weight = torch.cat([turn_half.expand(-1, N_UNLIMITED), half, torch.ones_like(rest)], 1).square()
        expected += precision * weight
    at = skelify.evaluate(x, terms)
    torch.testing.assert_close(at.cost, cost, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(at.normal, torch.diag_embed(expected), rtol=1e-9, atol=1e-9)
    assert (terms.softness[:4, 0] == skelify.config.opinion_kernel**-2).all()
    assert not terms.softness[4:, 0].any(), "nobody said that the mean pose is theirs"
    assert (terms.softness[:, 1] == skelify.config.opinion_kernel**-2).all(), "but a network speaks of them"


def test_half_the_pull_is_left_at_three_standard_deviations(skelify: Skelify) -> None:
    """Of the square, that is: cost d^2 / 2 where a plain hold would have d^2."""
    problem = problem_of(skelify, 1, blind=True)
    anchor = problem.terms.anchor[:, 0]
    x = anchor.clone()
    std = problem.terms.precision[:, 0, 20].rsqrt()
    x[:, 20] += skelify.config.opinion_kernel * std
    cost = skelify.evaluate(x, problem.terms).cost
    torch.testing.assert_close(cost[:4], torch.full((4,), 4.5).double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(cost[4:], torch.full((2,), 9.0).double(), rtol=1e-6, atol=1e-6)


def test_an_opinion_of_infinite_standard_deviation_changes_nothing(skelify: Skelify) -> None:
    silent, one = problem_of(skelify, 2, std=math.inf), problem_of(skelify, 1)
    x = one.start + 0.05 * normal(6, PEOPLE, 59)
    for name in NAMES:
        got, expected = (getattr(skelify.evaluate(x, p.terms), name) for p in (silent, one))
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_a_wide_kernel_is_the_plain_hold(open_skel: Skel) -> None:
    """opinion_kernel=1e9: the squared standard deviations of before."""
    plain = Skelify(open_skel, SkelifyConfig(opinion_kernel=1e9))
    problem = problem_of(plain, 2, blind=True)
    x = problem.start + 0.3 * normal(7, PEOPLE, 59)
    away = x[:, None] - problem.terms.anchor
    for k in range(2):
        away[:, k, :N_UNLIMITED] = plain.orientation.between(x[:, :N_Q], problem.terms.anchor[:, k, :N_Q])
    at = plain.evaluate(x, problem.terms)
    torch.testing.assert_close(at.cost, (problem.terms.precision * away.square()).sum((1, 2)), rtol=1e-8, atol=1e-8)
    precision = torch.diag_embed(problem.terms.precision.sum(1))
    torch.testing.assert_close(at.normal, precision, rtol=1e-8, atol=1e-8)


def test_two_equal_opinions_hold_as_one_with_twice_the_precision(open_skel: Skel) -> None:
    plain = Skelify(open_skel, SkelifyConfig(opinion_kernel=1e9))
    one = problem_of(plain, 1)
    two = replace(
        one.terms,
        anchor=one.terms.anchor.repeat(1, 2, 1),
        precision=one.terms.precision.repeat(1, 2, 1) / 2,
        softness=one.terms.softness.repeat(1, 2),
    )
    for name in NAMES:
        got, expected = (getattr(plain.evaluate(one.start, terms), name) for terms in (two, one.terms))
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_a_far_off_pseudo_label_is_outvoted(open_skel: Skel) -> None:
    """One knee that the pseudo-label bends and nobody else: the robust hold lets go, the plain one does not."""
    found = {}
    for kernel in (3.0, 1e9):
        skelify = Skelify(open_skel, SkelifyConfig(opinion_kernel=kernel))
        q, betas = upright_poses(PEOPLE, 1), shapes(PEOPLE, 2, size=0.5)
        cam_t = torch.tensor([0.05, 0.1, 45.0], dtype=torch.float64).expand(PEOPLE, -1)
        xy = project(open_skel.keypoints(q, betas), cam_t)
        keypoints = torch.cat([xy, torch.ones_like(xy[..., :1])], -1)
        bent = q.clone()
        bent[:, 6] = q[:, 6] + 1.5
        anchor = Anchor(bent, torch.zeros(PEOPLE, dtype=torch.bool), betas)
        fit = skelify.fit(keypoints, q, betas, cam_t, anchor)
        found[kernel] = (fit.q - q)[:, 6].abs().mean()
    assert found[3.0] < 0.5 * found[1e9]
