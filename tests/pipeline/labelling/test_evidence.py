"""The energy that labels are compared by: what their fits minimise, each under its best camera."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.fit import Skelify, SkelifyResult
from pipeline.image.camera import project, solve_camera
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.evidence import Evidence, energy, recorded_evidence
from schemas.labels import StartSource
from schemas.person import Person, PersonId
from tests.pipeline.body.poses import shapes, upright_poses
from tests.pipeline.labelling.made_evidence import evidence_of

PEOPLE = 12


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def skelify(open_skel: Skel) -> Skelify:
    return Skelify(open_skel)


@pytest.fixture(scope="module")
def known(open_skel: Skel) -> Evidence:
    """Noisy keypoints, a pseudo-label nearby, and of every other person a network's prediction."""
    q, betas = upright_poses(PEOPLE, 1), shapes(PEOPLE, 2, size=0.5)
    cam_t = torch.tensor([0.05, 0.1, 45.0], dtype=torch.float64).expand(PEOPLE, -1)
    xy = project(open_skel.keypoints(q, betas), cam_t) + 0.004 * normal(0, PEOPLE, 44, 2)
    seen = evidence_of(q + 0.1 * normal(1, PEOPLE, 46), betas, torch.cat([xy, torch.ones_like(xy[..., :1])], -1))
    said = torch.cat([q, betas], 1) + 0.1 * normal(2, PEOPLE, 56)
    std = torch.where(torch.arange(PEOPLE)[:, None] % 2 == 0, 0.1, torch.inf).double().expand(-1, 56)
    return replace(seen, prediction=said, prediction_std=std)


@pytest.fixture(scope="module")
def fit(skelify: Skelify, known: Evidence) -> SkelifyResult:
    anchor, q, betas = known.anchor(skelify.model), known.anchor_q, known.anchor_betas
    cam_t = solve_camera(skelify.model.keypoints(q, betas), known.keypoints)
    return skelify.fit(known.keypoints, q, betas, cam_t, anchor, known.keypoints_3d, known.focal)


def cost_at(skelify: Skelify, known: Evidence, q: Tensor, betas: Tensor, cam_t: Tensor) -> Tensor:
    anchor = known.anchor(skelify.model)
    problem = skelify.problem(known.keypoints, q, betas, cam_t, anchor, known.keypoints_3d, known.focal)
    return skelify.evaluate(problem.start, problem.terms).cost


def test_the_energy_of_a_fit_is_the_cost_that_it_ended_at(
    skelify: Skelify, known: Evidence, fit: SkelifyResult
) -> None:
    torch.testing.assert_close(cost_at(skelify, known, fit.q, fit.betas, fit.cam_t), fit.cost, rtol=1e-9, atol=1e-9)
    found = energy(skelify, known, fit.q, fit.betas, fit.cam_t)
    assert (found <= fit.cost * (1 + 1e-9)).all(), "a better camera may be found, a worse is not taken"
    torch.testing.assert_close(found, fit.cost, rtol=1e-3, atol=0)
    torch.testing.assert_close(energy(skelify, known, fit.q, fit.betas), found, rtol=1e-3, atol=1e-3)


def test_no_camera_nearby_is_better(skelify: Skelify, known: Evidence, fit: SkelifyResult) -> None:
    q, betas = fit.q + 0.05, fit.betas
    solved = solve_camera(skelify.model.keypoints(q, betas), known.keypoints)
    found = energy(skelify, known, q, betas)
    assert (found <= cost_at(skelify, known, q, betas, solved) * (1 + 1e-9)).all()
    for seed, size in ((3, 1e-2), (4, 0.1)):
        moved = solved * (1 + size * normal(seed, PEOPLE, 3))
        assert (found <= cost_at(skelify, known, q, betas, moved) * (1 + 1e-3)).all()
        assert (energy(skelify, known, q, betas, solved, moved) <= found * (1 + 1e-9)).all()


def test_a_fit_beats_what_it_started_from_and_what_lies_around_it(
    skelify: Skelify, known: Evidence, fit: SkelifyResult
) -> None:
    least = energy(skelify, known, fit.q, fit.betas, fit.cam_t)
    assert (least < energy(skelify, known, known.anchor_q, known.anchor_betas)).all()
    low, high = skelify.bounds.low[:46], skelify.bounds.high[:46]
    for seed in range(5):
        near = (fit.q + 0.02 * normal(seed, PEOPLE, 46)).clamp(low, high)
        assert (energy(skelify, known, near, fit.betas, fit.cam_t) > least).all()


def test_a_prediction_counts_for_whom_it_speaks_of(skelify: Skelify, known: Evidence, fit: SkelifyResult) -> None:
    silent = replace(known, prediction_std=torch.full_like(known.prediction_std, torch.inf))
    assert known.predicted.tolist() == [i % 2 == 0 for i in range(PEOPLE)]
    assert not silent.predicted.any()
    both, one = (energy(skelify, x, fit.q, fit.betas, fit.cam_t) for x in (known, silent))
    assert (both[::2] > one[::2]).all()
    torch.testing.assert_close(both[1::2], one[1::2], rtol=1e-12, atol=0)


def test_nobody_depends_on_the_others(skelify: Skelify, known: Evidence, fit: SkelifyResult) -> None:
    together = energy(skelify, known, fit.q, fit.betas, fit.cam_t)
    for rows in ([5], [4], [9, 0, 3], []):
        some = torch.tensor(rows, dtype=torch.int64)
        alone = energy(skelify, known.of(some), fit.q[some], fit.betas[some], fit.cam_t[some])
        torch.testing.assert_close(alone, together[some], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_energy_of_a_label_that_is_not_finite_is_unknown(
    skelify: Skelify, known: Evidence, fit: SkelifyResult, value: float
) -> None:
    q, betas = fit.q.clone(), fit.betas.clone()
    q[2, 9], betas[5, 0] = value, value
    found = energy(skelify, known, q, betas, fit.cam_t)
    assert found.isnan().nonzero().flatten().tolist() == [2, 5]


def person(index: int) -> Person:
    return Person(
        id=PersonId("d", "s", f"k{index}", 0),
        keypoints_2d=np.full((44, 3), 0.5, np.float32),
        keypoints_3d=np.zeros((44, 4), np.float32),
        center=np.zeros(2, np.float32),
        side=100.0,
        smpl=None,
    )


def test_evidence_is_read_from_the_row(open_skel: Skel) -> None:
    """Who has no label, or one from the mean pose, is held loosely; a std of zero is no prediction."""
    batch = PersonBatch.from_people([person(i) for i in range(3)])
    said = np.zeros((3, 46), np.float32)
    said[1] = 0.3
    parent = LabelBatch.of(
        batch.ids,
        has_label=np.array([True, True, False]),
        start_source=np.array([StartSource.SMPL, StartSource.MEAN_POSE, StartSource.NONE], object),
        anchor_q=np.full((3, 46), 0.2, np.float32),
        prediction_q=said,
        prediction_q_std=said / 3,
        prediction_betas_std=np.full((3, 10), 0.5, np.float32) * (said[:, :10] > 0),
    )
    known = recorded_evidence(batch, parent, open_skel)
    assert known.mean_pose.tolist() == [False, True, True]
    assert known.predicted.tolist() == [False, True, False]
    assert known.prediction_std[[0, 2]].isinf().all()
    torch.testing.assert_close(known.prediction_std[1, :46], torch.full((46,), 0.1).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(known.anchor_q, torch.full((3, 46), 0.2).double(), rtol=1e-6, atol=0)
