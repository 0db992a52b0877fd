"""The banded solve and the motion prior against dense algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fit.video.banded_normal import BandedNormal
from pipeline.fit.video.motion_prior import UNIT, MotionPrior

N, SHARED = 4, 2


def made(frames: int, seed: int) -> tuple[BandedNormal, np.ndarray, MotionPrior]:
    """A track of random blocks, uneven times and a few held unknowns; and its dense matrix."""
    rng = np.random.default_rng(seed)
    jacobian = rng.normal(size=(frames, 9, N + SHARED))
    normal = jacobian.transpose(0, 2, 1) @ jacobian + np.eye(N + SHARED)
    times = np.cumsum(rng.uniform(0.5, 2.0, frames) * UNIT)
    prior = MotionPrior.guessed(times, rng.uniform(500, 5000, N))
    free = rng.random((frames, N)) > 0.2
    blocks, border, shared = normal[:, :N, :N], normal[:, :N, N:], normal[:, N:, N:].sum(0)
    banded = BandedNormal.assembled(blocks, border, shared, prior.bands(), free)
    second = np.zeros((frames - 2, frames))
    for row in range(frames - 2):
        second[row, row : row + 3] = prior.stencil[:, row]
    dense = np.zeros((frames * N + SHARED,) * 2)
    for t in range(frames):
        own = slice(t * N, (t + 1) * N)
        dense[own, own], dense[own, frames * N :], dense[frames * N :, own] = blocks[t], border[t], border[t].T
    dense[frames * N :, frames * N :] = shared
    for j in range(N):
        rows = np.arange(frames) * N + j
        dense[np.ix_(rows, rows)] += second.T @ (prior.precision[:, j : j + 1] * second)
    held = np.flatnonzero(~free.reshape(-1))
    diagonal = dense[held, held]
    dense[held], dense[:, held] = 0, 0
    dense[held, held] = diagonal
    return banded, dense, prior


@given(frames=st.integers(2, 9), seed=st.integers(0, 2**32 - 1))
def test_the_step_is_that_of_the_dense_matrix(frames: int, seed: int) -> None:
    banded, dense, _ = made(frames, seed)
    gradient = np.random.default_rng(seed).normal(size=frames * N + SHARED)
    own, shared = gradient[: frames * N].reshape(frames, N), gradient[frames * N :]
    step, common, predicted = banded.step(own, shared, 0.1)
    gradient[: frames * N][~banded.free.reshape(-1)] = 0
    expected = -np.linalg.solve(dense + 0.1 * np.diag(np.diag(dense)), gradient)
    np.testing.assert_allclose(np.concatenate([step.reshape(-1), common]), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(predicted, -2 * gradient @ expected - expected @ dense @ expected, rtol=1e-8)


@given(frames=st.integers(2, 9), seed=st.integers(0, 2**32 - 1))
def test_covariances_are_those_of_the_dense_inverse(frames: int, seed: int) -> None:
    banded, dense, prior = made(frames, seed)
    inverse = np.linalg.inv(dense[: frames * N, : frames * N]).reshape(frames, N, frames, N)
    found = banded.covariance()
    for apart in range(3):
        for t in range(frames - apart):
            np.testing.assert_allclose(found[apart, t], np.diag(inverse[t, :, t + apart]), rtol=1e-8, atol=1e-12)
    variance = prior.acceleration_variance(found)
    for t in range(frames - 2):
        for j in range(N):
            block = inverse[t : t + 3, j, t : t + 3, j]
            np.testing.assert_allclose(variance[t, j], prior.stencil[:, t] @ block @ prior.stencil[:, t], rtol=1e-8)


def test_a_matrix_that_is_not_positive_gives_no_step() -> None:
    banded, _, _ = made(4, 0)
    banded.band[0] = -1
    step, common, predicted = banded.step(np.ones((4, N)), np.ones(SHARED), 0.1)
    assert not step.any()
    assert not common.any()
    assert predicted == 0
    with pytest.raises(np.linalg.LinAlgError):
        banded.covariance()


def test_scales_are_learned_and_bursts_found() -> None:
    """White noise of two strengths with one burst: the std comes back, and the burst weighs little."""
    rng, std = np.random.default_rng(3), np.array([20.0, 200.0])
    acceleration = rng.normal(size=(400, 2)) * std
    acceleration[200:203, 0] = 3000
    prior = MotionPrior.guessed(np.arange(402) * UNIT, np.array([72.0, 72.0]))
    for _ in range(20):
        prior = prior.reestimated(acceleration, np.zeros_like(acceleration))
    np.testing.assert_allclose(prior.std, std, rtol=0.35)
    assert prior.weight[201, 0] < 0.01
    assert 0.3 < np.median(prior.weight) < 3


def test_frames_far_apart_teach_nothing() -> None:
    prior = MotionPrior.guessed(np.arange(30) * 0.5, np.full(2, 72.0))
    learned = prior.reestimated(np.full((28, 2), 1e-3), np.zeros((28, 2)))
    np.testing.assert_allclose(learned.std, 72)
    assert (learned.weight == 1).all()


@pytest.mark.parametrize("fps", [15, 60])
def test_the_cost_of_a_motion_does_not_depend_on_the_frame_rate(fps: int) -> None:
    times = np.arange(0, 4, 1 / fps)
    prior = MotionPrior.guessed(times, np.array([72.0]))
    acceleration = prior.acceleration(np.diff(np.sin(3 * times))[:, None])
    expected = (9**2 * 2) / UNIT / 72**2  # the integral of (9 sin 3t)^2 over four seconds is 9^2 (2 - sin(24) / 12)
    np.testing.assert_allclose(prior.cost(acceleration), expected, rtol=0.08)
