"""How far predictions are believed: repeated labels not at all, too narrow claims wider, honest ones as they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.labelling.credibility import independence, widening
from schemas.skel import N_UNLIMITED

PEOPLE = 400
LABEL_STD, CLAIM = 0.1, 0.15
STD = st.floats(1e-4, 10)


def normal(seed: int, std: float = 1.0, people: int = PEOPLE) -> Tensor:
    return std * torch.randn(people, 46, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stds(std: float, people: int = PEOPLE) -> Tensor:
    return torch.full((people, 46), std, dtype=torch.float64)


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return normal(0, 0.5)


@pytest.fixture(scope="module")
def label(truth: Tensor) -> Tensor:
    return truth + normal(1, LABEL_STD)


def test_an_honest_independent_prediction_counts_in_full(truth: Tensor, label: Tensor) -> None:
    honest = truth + normal(2, CLAIM)
    share = independence(honest, stds(CLAIM), label, stds(LABEL_STD))
    factor = widening(honest, stds(CLAIM), label, stds(LABEL_STD))
    assert share.mean() > 0.97
    assert (share == 1).double().mean() > 0.9
    assert (factor == 1).double().mean() > 0.97


def test_a_repeated_label_proves_nothing(label: Tensor) -> None:
    for near in (0.0, 0.01, 0.03):
        copy = label + normal(3, near)
        assert not independence(copy, stds(CLAIM), label, stds(LABEL_STD)).any()


def test_half_a_copy_counts_less_than_an_independent_one(truth: Tensor, label: Tensor) -> None:
    half = (truth + normal(2, CLAIM) + label) / 2
    share = independence(half, stds(CLAIM), label, stds(LABEL_STD))
    assert 0.1 < share.mean() < 0.9


def test_a_copy_that_claims_to_be_exact_still_repeats(label: Tensor) -> None:
    """A narrow claim is no way out while the label's own uncertainty is what is expected."""
    assert not independence(label + normal(3, 0.01), stds(0.01), label, stds(LABEL_STD)).any()


def test_a_claim_that_is_too_narrow_is_widened_to_about_the_true_error(truth: Tensor, label: Tensor) -> None:
    for error in (0.3, 0.6):
        wrong, claim = truth + normal(4, error), stds(0.05)
        found = 0.05 * widening(wrong, claim, label, stds(LABEL_STD))
        assert found.median().item() == pytest.approx(error, rel=0.15)


def test_there_is_an_end_to_widening(truth: Tensor) -> None:
    factor = widening(truth + 3.0, stds(1e-3), truth, stds(1e-3))
    torch.testing.assert_close(factor, torch.full_like(factor, 30.0), rtol=1e-4, atol=0)


def test_the_pelvis_takes_no_part(truth: Tensor, label: Tensor) -> None:
    honest = truth + normal(2, CLAIM)
    turned, others = honest.clone(), stds(CLAIM)
    turned[:, :N_UNLIMITED] += 1.5
    for judged in (independence, widening):
        expected = judged(honest, others, label, stds(LABEL_STD))
        torch.testing.assert_close(judged(turned, others, label, stds(LABEL_STD)), expected, rtol=0, atol=0)


def test_whole_turns_do_not_count(truth: Tensor, label: Tensor) -> None:
    honest = truth + normal(2, CLAIM)
    for judged in (independence, widening):
        expected = judged(honest, stds(CLAIM), label, stds(LABEL_STD))
        turned = judged(honest + 2 * torch.pi, stds(CLAIM), label, stds(LABEL_STD))
        torch.testing.assert_close(turned, expected, rtol=1e-9, atol=1e-9)


def test_one_flipped_limb_is_not_held_against_a_prediction(truth: Tensor, label: Tensor) -> None:
    honest = truth + normal(2, CLAIM)
    honest[:, 6:10] += 2.0
    factor = widening(honest, stds(CLAIM), label, stds(LABEL_STD))
    assert (factor == 1).double().mean() > 0.8
    assert factor.mean() < 1.15, "the root mean square of the differences would ask for more than 3"


def test_nobody_depends_on_the_others(truth: Tensor, label: Tensor) -> None:
    wrong = truth + normal(5, 0.4)
    for judged in (independence, widening):
        together = judged(wrong, stds(0.05), label, stds(LABEL_STD))
        alone = judged(wrong[7:8], stds(0.05, 1), label[7:8], stds(LABEL_STD, 1))
        assert torch.equal(together[7:8], alone)
        assert judged(wrong[:0], stds(0.05, 0), label[:0], stds(LABEL_STD, 0)).shape == (0,)


@given(st.integers(0, 2**31), st.floats(0, 5), STD, STD)
@settings(max_examples=100)
def test_share_and_factor_stay_in_their_ranges(seed: int, apart: float, claim: float, spread: float) -> None:
    q = normal(seed, 2.0, people=3)
    predicted = q + normal(seed + 1, apart, people=3)
    share = independence(predicted, stds(claim, 3), q, stds(spread, 3))
    factor = widening(predicted, stds(claim, 3), q, stds(spread, 3))
    assert ((share >= 0) & (share <= 1)).all()
    assert ((factor >= 1) & (factor <= 30.001)).all()


@given(st.integers(0, 2**31), st.floats(0.02, 0.5), st.floats(1.0, 3.0))
@settings(max_examples=50)
def test_a_wider_claim_is_widened_less(seed: int, claim: float, wider: float) -> None:
    q, predicted = normal(seed, 0.5, people=3), normal(seed + 1, 0.5, people=3)
    narrow = widening(predicted, stds(claim, 3), q, stds(0.1, 3))
    broad = widening(predicted, stds(claim * wider, 3), q, stds(0.1, 3))
    assert (broad <= narrow * (1 + 1e-9)).all()
