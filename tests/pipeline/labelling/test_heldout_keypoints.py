"""Keypoints that a fit does not see: whose, which, always the same, and what only their error tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.body import Skel
from pipeline.fit import Anchor, Skelify
from pipeline.fit.objectives.skelify_config import SkelifyConfig
from pipeline.fit.skelify import SkelifyResult
from pipeline.image.camera import FOCAL, project
from pipeline.image.keypoint_error import enough_keypoints, kp2d_error
from pipeline.labelling.batches import PersonBatch
from pipeline.labelling.convert import as_model
from pipeline.labelling.foretold import Foretold, at_minimum
from pipeline.labelling.heldout_keypoints import (
    HIDDEN_SHARE,
    Foretell,
    held_out,
    hidden_keypoints,
    in_sample,
    without,
)
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER
from schemas.keypoints import PELVIS, TWINS
from schemas.person import PersonId
from tests.pipeline.body.poses import limits, shapes

PEOPLE = 24
NECK, MID_HIP, THORAX = 1, 8, 40


def people(count: int, shard: str = "000000") -> tuple[PersonId, ...]:
    return tuple(PersonId("made", shard, f"photo{i // 2}", i % 2) for i in range(count))


def seen(count: int, seed: int, share: float = 1.0) -> np.ndarray:
    """Keypoints (count, 44, 3) anywhere, each there with this probability."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(-0.5, 0.5, (count, 44, 3)).astype(np.float32)
    keypoints[..., 2] = rng.uniform(size=(count, 44)) < share
    return keypoints


def test_one_person_in_twenty_is_in_the_sample_by_identity_alone() -> None:
    ids = people(20_000)
    chosen = in_sample(ids)
    assert 0.045 < chosen.mean() < 0.055
    np.testing.assert_array_equal(in_sample(ids[::-1]), chosen[::-1])
    assert (in_sample(people(20_000, "000001")) != chosen).any()


@given(seed=st.integers(0, 2**31), share=st.floats(0.0, 1.0))
@settings(max_examples=40)
def test_twins_are_hidden_together_and_enough_is_left(seed: int, share: float) -> None:
    keypoints = seen(30, seed, share)
    hidden = hidden_keypoints(people(30), keypoints)
    np.testing.assert_array_equal(hidden[:, list(TWINS)], hidden[:, list(TWINS.values())])
    assert not hidden[:, [NECK, MID_HIP, PELVIS, THORAX]].any()
    left = keypoints.copy()
    left[hidden, 2] = 0
    spared = hidden.any(1)
    assert enough_keypoints(torch.as_tensor(left))[torch.as_tensor(spared)].all()
    usable = hidden & (keypoints[..., 2] > 0)
    assert (usable.any(1) == spared).all(), "what is hidden was there"


def test_an_eighth_is_hidden_three_at_least() -> None:
    def detections(keypoints: np.ndarray) -> np.ndarray:
        hidden = hidden_keypoints(people(len(keypoints)), keypoints)
        return np.delete(hidden, list(TWINS), axis=1).sum(1)

    everything = seen(500, 0)
    assert set(detections(everything)) == {round(HIDDEN_SHARE * 29)} == {4}
    ten = seen(500, 0)
    ten[:, 10:, 2] = 0
    assert set(detections(ten)) == {3}
    seven = seen(500, 0)
    seven[:, 7:, 2] = 0
    assert set(detections(seven)) == {0}, "four would be left"
    hidden = hidden_keypoints(people(500), everything)
    often = hidden.mean(0)[[k for k in range(37) if k not in (NECK, MID_HIP)]]
    assert often.min() > 0.08
    assert often.max() < 0.25


def test_the_same_points_are_hidden_whatever_the_batch_and_the_places() -> None:
    ids, keypoints = people(40), seen(40, 1)
    hidden = hidden_keypoints(ids, keypoints)
    moved = keypoints.copy()
    moved[..., :2] *= 0.5
    np.testing.assert_array_equal(hidden_keypoints(ids, moved), hidden)
    np.testing.assert_array_equal(hidden_keypoints(ids[5:9], keypoints[5:9]), hidden[5:9])
    assert (hidden[1:] != hidden[0]).any(1).all(), "everybody's own"


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    low, high = limits()
    q = 0.15 * torch.randn(PEOPLE, 46, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q[:, 0] -= torch.pi
    return torch.maximum(torch.minimum(q, high), low)


@pytest.fixture(scope="module")
def batch(open_skel: Skel, truth: torch.Tensor) -> PersonBatch:
    """People of the sample, with the noise of detectors, of which the second layout has copies."""
    ids = people(2000)
    ids = tuple(ids[row] for row in np.flatnonzero(in_sample(ids))[:PEOPLE])
    points = open_skel.keypoints(truth, shapes(PEOPLE, 2, size=0.5))
    camera = torch.tensor([0.05, 0.1, 45.0], dtype=torch.float64).expand(PEOPLE, -1)
    xy = project(points, camera)
    xy = xy + 0.012 * torch.randn(xy.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    xy[:, list(TWINS)] = xy[:, list(TWINS.values())]
    keypoints_3d = torch.cat([points - points[:, [PELVIS]], torch.ones(PEOPLE, 44, 1)], -1)
    return PersonBatch(
        ids=ids,
        keypoints=torch.cat([xy, torch.ones_like(xy[..., :1])], -1).numpy().astype(np.float32),
        keypoints_3d=keypoints_3d.numpy().astype(np.float32),
        smpl_pose=np.zeros((PEOPLE, 24, 3), np.float32),
        smpl_betas=np.zeros((PEOPLE, 10), np.float32),
        has_smpl=np.zeros(PEOPLE, bool),
        focal=np.full(PEOPLE, FOCAL),
        camera_source=np.full(PEOPLE, CameraSource.HSMR, object),
        camera_turn=np.zeros((PEOPLE, 3), np.float32),
        gender=np.full(PEOPLE, DEFAULT_GENDER, object),
    )


def fitted_by(skelify: Skelify, start: torch.Tensor, results: list[SkelifyResult] | None = None) -> Foretell:
    """Fits from a start, held to it, with the 2D keypoints of people as they are given."""

    def fit(people: PersonBatch, rows: np.ndarray) -> Foretold:
        skel = skelify.model
        q, betas = start[rows], torch.zeros(len(rows), 10, dtype=torch.float64)
        camera = torch.tensor([0.0, 0.0, 45.0], dtype=torch.float64).expand(len(rows), -1)
        keypoints, focal = as_model(skel, people.keypoints), as_model(skel, people.focal)
        anchor = Anchor(q, torch.zeros(len(rows), dtype=torch.bool))
        found = skelify.fit(keypoints, q, betas, camera, anchor, focal=focal)
        if results is not None:
            results.append(found)
        at = found.q, found.betas, found.cam_t
        return at_minimum(skelify, skelify.problem(keypoints, *at, anchor, focal=focal))

    return fit


@pytest.fixture(scope="module")
def start(truth: torch.Tensor) -> torch.Tensor:
    return truth + 0.1 * torch.randn(PEOPLE, 46, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_fit_sees_everything_but_what_it_is_measured_on(
    batch: PersonBatch, start: torch.Tensor, open_skel: Skel
) -> None:
    hidden, found = hidden_keypoints(batch.ids, batch.keypoints), []
    fit = fitted_by(Skelify(open_skel), start, found)

    def watched(people: PersonBatch, rows: np.ndarray) -> Foretold:
        np.testing.assert_array_equal(rows, np.arange(PEOPLE))
        for points, before in ((people.keypoints, batch.keypoints), (people.keypoints_3d, batch.keypoints_3d)):
            assert not points[hidden, -1].any()
            np.testing.assert_array_equal(points[~hidden], before[~hidden])
        return fit(people, rows)

    errors = held_out(batch, watched).error
    moved = batch.keypoints.copy()
    moved[hidden, :2] += 0.1
    farther = held_out(replace(batch, keypoints=moved), fit).error
    assert torch.equal(found[0].q, found[1].q)
    assert (farther > errors).mean() > 0.9
    seen_now = as_model(open_skel, without(batch, ~hidden).keypoints)
    projected = project(open_skel.keypoints(found[0].q, found[0].betas), found[0].cam_t)
    np.testing.assert_allclose(errors, kp2d_error(projected, seen_now))


def test_only_the_sample_is_fitted(batch: PersonBatch, start: torch.Tensor, open_skel: Skel) -> None:
    strangers = people(2000)
    strangers = tuple(strangers[row] for row in np.flatnonzero(~in_sample(strangers))[: PEOPLE - 4])
    mixed = replace(batch, ids=batch.ids[:4] + strangers)
    errors = held_out(mixed, fitted_by(Skelify(open_skel), start)).error
    assert np.isfinite(errors[:4]).all()
    assert np.isnan(errors[4:]).all()

    def never(people: PersonBatch, rows: np.ndarray) -> Foretold:
        raise AssertionError("nobody is to be fitted")

    assert np.isnan(held_out(mixed.take(np.arange(4, PEOPLE)), never)).all()


def test_the_shares_inside_tell_whether_the_regions_are_true(
    batch: PersonBatch, start: torch.Tensor, open_skel: Skel
) -> None:
    fit = fitted_by(Skelify(open_skel), start)
    found = held_out(batch, fit)
    assert (found.in_50 <= found.in_90).all()
    assert 0.35 < found.in_50.mean() < 0.75
    assert 0.8 < found.in_90.mean() <= 1

    def sure(people: PersonBatch, rows: np.ndarray) -> Foretold:
        told = fit(people, rows)
        return told._replace(covariance=torch.zeros_like(told.covariance))

    assert held_out(batch, sure).in_90.mean() < found.in_90.mean() - 0.1, "what the fit leaves open counts"
    moved = batch.keypoints.copy()
    moved[hidden_keypoints(batch.ids, batch.keypoints), :2] += 0.2
    assert held_out(replace(batch, keypoints=moved), fit).in_90.mean() < 0.2


def test_it_tells_a_fit_that_follows_the_noise(batch: PersonBatch, truth: torch.Tensor, open_skel: Skel) -> None:
    """Held next to nothing, a fit comes closer to the keypoints it sees and farther from those it does not."""
    everything = np.arange(PEOPLE)
    held = Skelify(open_skel)
    loose = Skelify(open_skel, SkelifyConfig(anchor_std=3.0, betas_std=30.0, depth_std=2.0))
    results: list[SkelifyResult] = []
    for skelify in (held, loose):
        fitted_by(skelify, truth, results)(batch, everything)
    fitted = [float(found.kp2d_error.mean()) for found in results]
    hidden = [float(held_out(batch, fitted_by(s, truth)).error.mean()) for s in (held, loose)]
    assert fitted[1] < fitted[0]
    assert hidden[1] > hidden[0]
