"""Regions of unseen keypoints: they hold what they say, and are as wide as the fit leaves the body open."""

import numpy as np
import torch
from scipy.stats import chi2

from pipeline.body import Skel
from pipeline.fit import Skelify
from pipeline.fit.solver.image_objective import cam_t_of, image_jacobian
from pipeline.image.camera import project
from pipeline.image.keypoint_noise import keypoint_noise
from pipeline.labelling.foretold import Foretold, at_minimum
from schemas.keypoints import SCORED
from tests.pipeline.body.poses import limits

PEOPLE = 2000


def test_distances_are_in_standard_deviations() -> None:
    """Noise as measured, larger at lower confidence, and what the fit leaves open."""
    rng = np.random.default_rng(0)
    root = torch.tensor([[0.02, 0.0], [0.01, 0.005]], dtype=torch.float64)
    confidence = torch.as_tensor(rng.uniform(0.3, 1, (PEOPLE, 44)))
    noise = keypoint_noise().std / confidence.sqrt()
    away, own = (torch.as_tensor(rng.standard_normal((PEOPLE, 44, 2))) for _ in range(2))
    seen = torch.cat([away @ root.mT + noise[..., None] * own, confidence[..., None]], -1)
    told = Foretold(torch.zeros(PEOPLE, 44, 2, dtype=torch.float64), (root @ root.mT).expand(PEOPLE, 44, 2, 2))
    squared = told.squared_distance(seen)[:, list(SCORED)]
    for level in (0.5, 0.9):
        assert abs(float((squared <= chi2(2).ppf(level)).double().mean()) - level) < 0.01


def test_what_cannot_be_told_is_nan() -> None:
    told = Foretold(torch.zeros(3, 44, 2), torch.zeros(3, 44, 2, 2))
    told.places[1] = torch.nan
    told.covariance[2] = torch.nan
    seen = torch.ones(3, 44, 3)
    seen[0, 0, 2] = 0
    squared = told.squared_distance(seen)
    assert squared[0, 0].isnan()
    assert squared[0, 1].isfinite()
    assert squared[1:].isnan().all()


def test_the_slopes_are_those_of_the_projection(open_skel: Skel) -> None:
    low, high = limits()
    q = ((low + high) / 2)[None] + 0.1
    x = torch.cat([q, torch.full((1, 10), 0.3), torch.tensor([[0.1, 0.2, 3.8]])], 1).double()
    focal = torch.tensor([20.0], dtype=torch.float64)
    places, jacobian = image_jacobian(open_skel, x, focal)

    def projected(y: torch.Tensor) -> torch.Tensor:
        return project(open_skel.keypoints(y[:, :46], y[:, 46:56]), cam_t_of(y), focal)

    torch.testing.assert_close(places, projected(x))
    for unknown in (10, 30, 50, 56, 58):
        step = torch.zeros_like(x)
        step[0, unknown] = 1e-6
        slope = (projected(x + step) - projected(x - step)) / 2e-6
        torch.testing.assert_close(jacobian[..., unknown], slope, atol=1e-6, rtol=1e-5)


def test_a_looser_hold_leaves_more_open(open_skel: Skel) -> None:
    q = torch.zeros(1, 46, dtype=torch.float64)
    q[:, 0] = -torch.pi
    betas, camera = torch.zeros(1, 10, dtype=torch.float64), torch.tensor([[0.0, 0.0, 45.0]], dtype=torch.float64)
    keypoints = torch.cat([project(open_skel.keypoints(q, betas), camera), torch.ones(1, 44, 1)], -1).double()
    unseen = keypoints.clone()
    unseen[:, [4, 31], 2] = 0
    skelify = Skelify(open_skel)
    seen, hidden = (at_minimum(skelify, skelify.problem(k, q, betas, camera)).covariance for k in (keypoints, unseen))
    spread = [float(c[0, 4].diagonal().sum().sqrt()) for c in (seen, hidden)]
    assert 0 < spread[0] < spread[1]
    torch.testing.assert_close(hidden, hidden.mT)
