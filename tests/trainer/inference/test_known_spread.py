"""What a checkpoint says of how far off its predictions are, and what is assumed where it says nothing."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.networks import INFO
from trainer.inference.known_spread import BETAS_STD, SAYS_NOTHING, UNMEASURED_STD, KnownSpread

Q_STD, BETAS, FACTORS = (tuple(np.linspace(0.1, 2, n).tolist()) for n in (46, 10, 46))


def test_released_and_older_files() -> None:
    for info in (None, INFO):
        spread = KnownSpread.of(info)
        assert not spread.told
        assert (spread.of_people(np.ones((2, 46)), 2) == np.float32(UNMEASURED_STD)).all()
        assert (spread.betas_std == BETAS_STD).all()
    older = KnownSpread.of(replace(INFO, q_std=Q_STD)).of_people(None, 3)
    np.testing.assert_allclose(older, np.tile(Q_STD, (3, 1)), rtol=1e-6)


def test_what_the_head_says_is_calibrated() -> None:
    spread = KnownSpread.of(replace(INFO, q_std=Q_STD, betas_std=BETAS, spread_factors=FACTORS))
    assert spread.told
    stated = np.random.default_rng(0).uniform(0.1, 1, (4, 46))
    np.testing.assert_allclose(spread.of_people(stated, 4), stated * FACTORS, rtol=1e-6)
    np.testing.assert_allclose(spread.of_people(None, 1)[0], Q_STD, rtol=1e-6)
    np.testing.assert_allclose(spread.betas_std, BETAS, rtol=1e-6)


def test_who_knows_no_more_than_the_average_person_says_nothing() -> None:
    spread = KnownSpread.of(
        replace(INFO, q_std=(0.3,) * 46, betas_std=(1.1,) * 10, population_std=(0.5,) * 46 + (1.2,) * 10)
    )
    q_std, betas_std = spread.news(np.array([[0.3] * 44 + [0.5, 0.7]], np.float32), spread.betas_std)
    assert q_std[0, 0] == pytest.approx((0.3**-2 - 0.5**-2) ** -0.5)
    assert q_std[0, -2:].tolist() == pytest.approx([SAYS_NOTHING] * 2)
    assert betas_std[0] == pytest.approx((1.1**-2 - 1.2**-2) ** -0.5)
    sure, _ = spread.news(np.full((1, 46), 0.05, np.float32), spread.betas_std)
    np.testing.assert_allclose(sure, 0.05, rtol=0.01)  # what a good network knows is not from the average


def test_where_nobody_measured_how_people_differ_all_is_news() -> None:
    spread = KnownSpread.of(replace(INFO, q_std=Q_STD, betas_std=BETAS))
    q_std, betas_std = spread.news(spread.of_people(None, 2), spread.betas_std)
    np.testing.assert_allclose(q_std, np.tile(Q_STD, (2, 1)), rtol=1e-3)
    np.testing.assert_allclose(betas_std, BETAS, rtol=1e-2)


def test_of_people_whom_it_never_saw_a_network_is_taken_at_its_word() -> None:
    known = replace(INFO, q_std=Q_STD, betas_std=BETAS, population_std=(0.5,) * 56)
    unseen = KnownSpread.of(known).of_unseen()
    q_std, betas_std = unseen.news(unseen.of_people(None, 2), unseen.betas_std)
    np.testing.assert_allclose(q_std, np.tile(Q_STD, (2, 1)), rtol=1e-2)
    np.testing.assert_allclose(betas_std, BETAS, rtol=1e-2)
    assert unseen.told
