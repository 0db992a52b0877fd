"""The collapsed keypoint operator: equal to the posed mesh, its Jacobian to central differences and to autograd."""

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from tests.pipeline.body.poses import poses_anywhere, poses_within_limits, shapes
from tests.shape_checks import shapes_unchecked

PEOPLE = 4


@pytest.fixture(scope="module", params=["open_skel", "standin_skel"])
def skel(request: pytest.FixtureRequest) -> Skel:
    return request.getfixturevalue(request.param)


def people() -> tuple[Tensor, Tensor]:
    """Inside the limits, far outside, and at the places where formulas degenerate: zero and tiny angles, |beta| = 3."""
    q = torch.cat(
        [poses_within_limits(PEOPLE, 1), poses_anywhere(PEOPLE, 2), torch.zeros(1, 46), torch.full((1, 46), 1e-6)]
    )
    return q.double(), torch.cat([shapes(len(q) - 1, 3, size=3), torch.full((1, 10), -3.0).double()])


def central_differences(skel: Skel, q: Tensor, betas: Tensor, step: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Fourth-order differences of the keypoints in q (B, 44, 3, 46) and betas (B, 44, 3, 10)."""
    x = torch.cat([q, betas], 1)
    columns = torch.eye(x.shape[1], dtype=x.dtype) * step

    def at(factor: float) -> Tensor:
        moved = (x[:, None] + factor * columns).flatten(0, 1)
        return skel.keypoints(moved[:, :46], moved[:, 46:]).unflatten(0, (len(x), -1)).movedim(1, -1)

    whole = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    return whole[..., :46], whole[..., 46:]


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest derivative of that person in that column's group."""
    return float(((got - expected).abs().flatten(1).amax(1) / expected.abs().flatten(1).amax(1)).max().detach())


def test_against_central_differences(skel: Skel) -> None:
    q, betas = people()
    found = skel.keypoints_and_jacobian(q, betas)
    by_q, by_betas = central_differences(skel, q, betas)
    assert relative(found.by_q, by_q) < 1e-6
    assert relative(found.by_betas, by_betas) < 1e-6


def test_against_autograd(skel: Skel) -> None:
    q, betas = (x.requires_grad_() for x in people())
    found = skel.keypoints_and_jacobian(q, betas)
    u = torch.randn(found.points.shape, generator=torch.Generator().manual_seed(0), dtype=q.dtype)
    by_q, by_betas = torch.autograd.grad((u * skel.keypoints(q, betas)).sum(), (q, betas))
    assert relative(torch.einsum("bkc,bkcq->bq", u, found.by_q), by_q) < 1e-6
    assert relative(torch.einsum("bkc,bkcs->bs", u, found.by_betas), by_betas) < 1e-6


def test_points_are_those_of_the_posed_mesh(skel: Skel) -> None:
    q, betas = people()
    posed = torch.as_tensor(skel.arrays.keypoint_regressor) @ skel(q, betas).skin_vertices
    torch.testing.assert_close(skel.keypoints(q, betas), posed, rtol=0, atol=1e-12)
    torch.testing.assert_close(skel.keypoints_and_jacobian(q, betas).points, posed, rtol=0, atol=1e-12)


def test_float32_agrees_with_float64(skel: Skel) -> None:
    q, betas = people()
    single, double = skel.to("cpu", torch.float32), skel.keypoints_and_jacobian(q, betas)
    found = single.keypoints_and_jacobian(q.float(), betas.float())
    assert (found.points - double.points).abs().max() < 2e-5
    assert (found.by_q - double.by_q).abs().max() < 2e-5
    assert (found.by_betas - double.by_betas).abs().max() < 2e-5


def test_a_person_does_not_depend_on_the_batch(skel: Skel) -> None:
    q, betas = people()
    q[0] = torch.nan
    together = skel.keypoints_and_jacobian(q, betas)
    for person in range(1, len(q)):
        alone = skel.keypoints_and_jacobian(q[person : person + 1], betas[person : person + 1])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_[person], rtol=0, atol=1e-13)


def test_no_people(skel: Skel) -> None:
    found = skel.keypoints_and_jacobian(torch.zeros(0, 46).double(), torch.zeros(0, 10).double())
    assert [tuple(x.shape) for x in found] == [(0, 44, 3), (0, 44, 3, 46), (0, 44, 3, 10)]


def test_wrong_shapes_are_refused(skel: Skel) -> None:
    with (
        shapes_unchecked(),
        pytest.raises(ValueError, match=r"expected q \(B, 46\) and betas \(B, 10\), got \(2, 45\)"),
    ):
        skel.keypoints(torch.zeros(2, 45), torch.zeros(2, 10))
