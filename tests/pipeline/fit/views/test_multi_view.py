"""Several cameras at once: derivatives, made people found again, and what the views cannot agree on."""

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.fit.starts.mean_pose import mean_q
from pipeline.fit.views.multi_view import MultiViewFit, Views
from schemas.skel import N_BETAS, N_Q, q_limits

VIEWS, FOCAL = 3, 2.0


def people(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, betas and trans in world axes: poses around the mean one, within the limits."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    q = mean_q() + 0.3 * torch.randn(count, N_Q, generator=generator, dtype=torch.float64)
    betas = 0.5 * torch.randn(count, N_BETAS, generator=generator, dtype=torch.float64)
    trans = 0.2 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return torch.maximum(torch.minimum(q, high), low), betas, trans


def seen(skel: Skel, q: Tensor, betas: Tensor, trans: Tensor) -> Views:
    """Cameras around the people, 3.5 m away, upright with y down."""
    count = len(q)
    turns = torch.tensor([[0.0, angle, 0.0] for angle in (0.0, 1.6, 3.4)], dtype=torch.float64)
    rotation = axis_angle_to_matrix(turns)
    translation = torch.tensor([[0.0, 0.0, 3.5]], dtype=torch.float64).expand(VIEWS, 3)
    places = skel.keypoints(q, betas) + trans[:, None]
    turned = torch.einsum("vij,bkj->bvki", rotation, places) + translation[:, None]
    keypoints = torch.cat([FOCAL * turned[..., :2] / turned[..., 2:], torch.ones_like(turned[..., :1])], -1)
    focal = torch.full((count, VIEWS), FOCAL, dtype=torch.float64)
    return Views(keypoints, focal, rotation.expand(count, -1, -1, -1), translation.expand(count, -1, -1))


def test_gradient_is_that_of_the_cost(open_skel: Skel) -> None:
    fit = MultiViewFit(open_skel)
    q, betas, trans = people(2, seed=1)
    views = seen(fit.model, q, betas, trans)
    x = torch.cat([q, betas, trans], 1) + 0.02
    at = fit.linearise(x, views, 0.05)
    step = 1e-6
    for unknown in range(x.shape[1]):
        move = torch.zeros_like(x)
        move[:, unknown] = step
        ahead, behind = (fit.linearise(fit.orientation.retract(x, s * move), views, 0.05).cost for s in (1, -1))
        slope = (ahead - behind) / (4 * step)
        torch.testing.assert_close(at.gradient[:, unknown], slope, rtol=2e-4, atol=2e-3)


def test_made_people_are_found_again(open_skel: Skel) -> None:
    fit = MultiViewFit(open_skel)
    q, betas, trans = people(6, seed=2)
    views = seen(fit.model, q, betas, trans)
    start = torch.cat([q + 0.15, 0 * betas, trans + 0.1], 1)[:, None]
    found = fit.fit(views, start)
    away = fit.model.keypoints(found.q, found.betas) + found.trans[:, None]
    away = away - fit.model.keypoints(q, betas) - trans[:, None]
    assert float(away.norm(dim=-1).mean()) < 0.015, "m, what the hold to the mean pose and shape leaves"


def test_one_view_s_answer_lies_where_that_view_saw_it(open_skel: Skel) -> None:
    """`into_world`, then looked at from the same view, is the same picture."""
    fit = MultiViewFit(open_skel)
    q, betas, trans = people(3, seed=3)
    views = seen(fit.model, q, betas, trans)
    cam_t = torch.tensor([[0.1, -0.2, 3.0]], dtype=torch.float64).expand(3, 3)
    world = fit.into_world(1, q, betas, cam_t, views)
    points = fit.model.keypoints(world[:, :N_Q], betas) + world[:, None, -3:]
    points = points @ views.rotation[:, 1].mT + views.translation[:, None, 1]
    torch.testing.assert_close(points, fit.model.keypoints(q, betas) + cam_t[:, None], rtol=0, atol=1e-9)


def test_people_do_not_depend_on_each_other(open_skel: Skel) -> None:
    fit = MultiViewFit(open_skel)
    q, betas, trans = people(3, seed=4)
    views = seen(fit.model, q, betas, trans)
    start = torch.cat([q + 0.1, 0 * betas, trans], 1)[:, None]
    together = fit.fit(views, start)
    rows = torch.tensor([1])
    alone = fit.fit(views.rows(rows), start[rows])
    assert float((together.q[1] - alone.q[0]).abs().max()) == pytest.approx(0, abs=1e-6)
