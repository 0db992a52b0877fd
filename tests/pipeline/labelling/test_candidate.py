"""Which of two fits is judged: the more probable one of those that acceptance could take."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.body import Skel, Smpl
from pipeline.fit import Skelify
from pipeline.fit.skelify import SkelifyResult
from pipeline.image.camera import FOCAL, project, solve_camera
from pipeline.labelling import refine
from pipeline.labelling.acceptance import AcceptConfig, measure
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.candidate import Candidates, Choice
from pipeline.labelling.predictor import Guess, PredictionBatch
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER
from schemas.labels import Decision, StartSource
from schemas.person import PersonId
from tests.pipeline.body.poses import shapes, upright_poses

PEOPLE = 6
ACCEPT = AcceptConfig()
TOO_STOUT = 3.5


@pytest.fixture(scope="module")
def keypoints(open_skel: Skel) -> Tensor:
    """(6, 44, 3) of the true bodies of everybody."""
    points = open_skel.keypoints(upright_poses(PEOPLE, 0), shapes(PEOPLE, 0, size=0.3))
    away = torch.tensor([0.0, 0.0, 45.0], dtype=torch.float64).expand(PEOPLE, -1)
    return torch.cat([project(points, away), torch.ones(PEOPLE, 44, 1, dtype=torch.float64)], -1)


def candidates(q: Tensor, cost: list[float], source: StartSource, betas: Tensor | None = None) -> Candidates:
    count = len(q)
    betas = shapes(PEOPLE, 0, size=0.3)[:count] if betas is None else betas
    unknown = q.new_zeros(count)
    costs = torch.tensor(cost, dtype=q.dtype)
    fit = SkelifyResult(q, betas, q.new_zeros(count, 3), unknown, unknown.int(), q.abs(), q, betas, costs)
    return Candidates(fit, np.full(count, source, object))


def choice(skel: Skel, keypoints: Tensor, has_parent: bool = True) -> Choice:
    """The parents are the true bodies."""
    focal = torch.full((PEOPLE,), FOCAL, dtype=torch.float64)
    parent = measure(skel, upright_poses(PEOPLE, 0), shapes(PEOPLE, 0, size=0.3), keypoints, focal)
    return Choice(skel, parent, torch.full((PEOPLE,), has_parent), keypoints, focal, ACCEPT)


@pytest.mark.parametrize("has_parent", [True, False])
def test_one_that_would_be_refused_does_not_win(open_skel: Skel, keypoints: Tensor, has_parent: bool) -> None:
    truth, betas = upright_poses(PEOPLE, 0), shapes(PEOPLE, 0, size=0.3)
    wrong, stout = truth.clone(), betas.clone()
    wrong[0] = upright_poses(PEOPLE, 9)[5]  # far beside the keypoints
    wrong[0, 3:] += 1.0
    wrong[1, 20] = torch.nan
    stout[2, 1] = TOO_STOUT
    wrong[3, 6] = -1.0  # a knee bent the wrong way
    rows = torch.arange(PEOPLE)
    incumbent = candidates(wrong, [1, 1, 1, 1, 1, 3], StartSource.PARENT, stout)
    rival = candidates(truth, [2] * PEOPLE, StartSource.PREDICTION)
    one = choice(open_skel, keypoints, has_parent)
    for first, second in ((incumbent, rival), (rival, incumbent)):
        found = one.better(rows, first, second)
        assert found.source.tolist() == [StartSource.PREDICTION] * 4 + [StartSource.PARENT, StartSource.PREDICTION]
        assert found.fit.cost.tolist() == [2, 2, 2, 2, 1, 2]


def test_where_none_could_be_taken_the_lower_cost_stays(open_skel: Skel, keypoints: Tensor) -> None:
    stout = torch.full((2, 10), TOO_STOUT, dtype=torch.float64)
    q, rows = upright_poses(PEOPLE, 0)[[1, 4]], torch.tensor([1, 4])
    incumbent = candidates(q, [1, 2], StartSource.PARENT, stout)
    rival = candidates(q, [2, 1], StartSource.PREDICTION, stout)
    found = choice(open_skel, keypoints).better(rows, incumbent, rival)
    assert found.source.tolist() == [StartSource.PARENT, StartSource.PREDICTION]


def test_a_round_takes_the_rival_of_a_fit_that_would_be_refused(
    open_skel: Skel, open_smpl: Smpl, keypoints: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit from the parent ends lower than that from the prediction, but grossly beside the keypoints."""
    truth, betas = upright_poses(PEOPLE, 0), shapes(PEOPLE, 0, size=0.3)
    batch = PersonBatch(
        ids=tuple(PersonId("made", "000000", f"p{i}", 0) for i in range(PEOPLE)),
        keypoints=keypoints.numpy().astype(np.float32),
        keypoints_3d=np.zeros((PEOPLE, 44, 4), np.float32),
        smpl_pose=np.zeros((PEOPLE, 24, 3), np.float32),
        smpl_betas=np.zeros((PEOPLE, 10), np.float32),
        has_smpl=np.zeros(PEOPLE, bool),
        focal=np.full(PEOPLE, FOCAL),
        camera_source=np.full(PEOPLE, CameraSource.HSMR, object),
        camera_turn=np.zeros((PEOPLE, 3), np.float32),
        gender=np.full(PEOPLE, DEFAULT_GENDER, object),
    )
    parent_q = truth + 0.2 * torch.randn(PEOPLE, 46, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cam_t = solve_camera(open_skel.keypoints(parent_q, betas), keypoints)
    parent = LabelBatch.of(
        batch.ids,
        has_label=np.ones(PEOPLE, bool),
        q=parent_q.numpy().astype(np.float32),
        betas=betas.numpy().astype(np.float32),
        cam_t=cam_t.numpy().astype(np.float32),
        q_std=np.full((PEOPLE, 46), 0.2, np.float32),
        anchor_q=parent_q.numpy().astype(np.float32),
        anchor_betas=betas.numpy().astype(np.float32),
        start_source=np.full(PEOPLE, StartSource.SMPL, object),
    )
    std = np.full(46, 0.02, np.float32), np.full(10, 0.3, np.float32)
    guesses = [
        Guess(q, b, np.array([0, 0, 45], np.float32), *std)
        for q, b in zip(truth.numpy().astype(np.float32), betas.numpy().astype(np.float32), strict=True)
    ]
    fit, fits = refine.fitted, []

    def second_ends_upside_down(*arguments) -> SkelifyResult:
        fits.append(found := fit(*arguments))
        if len(fits) != 2:
            return found
        upside_down = torch.cat([found.q[:, :1] + torch.pi, found.q[:, 1:]], 1)
        return found._replace(q=upside_down, cost=torch.zeros_like(found.cost))

    monkeypatch.setattr(refine, "fitted", second_ends_upside_down)
    prediction = PredictionBatch.from_guesses(guesses)
    labels = refine.refine_people(batch, parent, prediction, Skelify(open_skel), open_smpl, ACCEPT)
    assert labels.decision.tolist() == [Decision.IMPROVED] * PEOPLE
    assert labels.start_source.tolist() == [StartSource.PREDICTION] * PEOPLE
