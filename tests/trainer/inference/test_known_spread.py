"""What a checkpoint says of how far off its predictions are, and what is assumed where it says nothing."""

from dataclasses import replace

import numpy as np

from tests.trainer.networks import INFO
from trainer.inference.known_spread import BETAS_STD, UNMEASURED_STD, KnownSpread

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
