"""Rotation formulas hold everywhere: at zero, at pi, at the gimbal, in float32."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.body.representation import (
    Q_OF_JOINT,
    q_to_representation,
    q_to_rotations,
    representation_to_q,
    rotations_to_q,
)
from pipeline.body.rotations import (
    axis_angle_to_matrix,
    cosc,
    cosc_derivative,
    euler_from_matrix,
    matrix_to_axis_angle,
    rotation_about,
    shortest_arc,
    shortest_arc_spin,
    sinc,
    sinc_derivative,
    skew,
)
from tests.pipeline.body.poses import poses_anywhere, poses_within_limits

THREE_DOF = [joint for joint, ids in enumerate(Q_OF_JOINT) if len(ids) == 3]
ORDERS = ["".join(order) for order in permutations("XYZ")]
angles = st.floats(-4, 4, allow_subnormal=False)
vectors = st.tuples(angles, angles, angles)


def of_euler(order: str, angles: Tensor) -> Tensor:
    eye = torch.eye(3, dtype=angles.dtype)
    first, second, third = (
        rotation_about(eye["XYZ".index(letter)].expand(*angles.shape[:-1], 3), angles[..., i])
        for i, letter in enumerate(order)
    )
    return first @ second @ third


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_euler_angles_reproduce_every_rotation(order: str, dtype: torch.dtype, tolerance: float) -> None:
    """Middle angles within 1e-9..1e-1 of +-90 degrees included: finite, the rotation back, a finite gradient."""
    middle = torch.cat([sign * (torch.pi / 2 - torch.logspace(-9, -1, 9)) for sign in (1, -1)] + [torch.zeros(1)])
    middle = torch.cat([middle, torch.tensor([torch.pi / 2, -torch.pi / 2])])
    outer = torch.linspace(-3, 3, 7)
    given = torch.cartesian_prod(outer, middle, outer).double()
    matrix = of_euler(order, given).to(dtype).requires_grad_()
    found = euler_from_matrix(matrix, order)
    assert torch.isfinite(found).all()
    assert (of_euler(order, found) - matrix).abs().max() < tolerance
    assert found[:, 1].abs().max() <= torch.pi / 2 + 1e-6
    (gradient,) = torch.autograd.grad(found.sum(), matrix)
    assert torch.isfinite(gradient).all()


@given(vectors)
@settings(max_examples=200)
def test_axis_angle_there_and_back(vector: tuple[float, float, float]) -> None:
    v = torch.tensor(vector, dtype=torch.float64)
    matrix = axis_angle_to_matrix(v)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).double(), rtol=0, atol=1e-12)
    found = matrix_to_axis_angle(matrix)
    assert found.norm() <= torch.pi + 1e-12
    torch.testing.assert_close(axis_angle_to_matrix(found), matrix, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_axis_angle_at_pi_and_zero(dtype: torch.dtype) -> None:
    """Half turns about random axes, and turns short of them by 1e-12 to 1e-2."""
    axes = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    for short in (0.0, 1e-12, 1e-8, 1e-5, 1e-2, torch.pi, torch.pi - 1e-9):
        matrix = axis_angle_to_matrix(axes * (torch.pi - short)).to(dtype)
        found = matrix_to_axis_angle(matrix)
        assert (axis_angle_to_matrix(found) - matrix).abs().max() < 10 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("function", "derivative", "direct"),
    [
        (sinc, sinc_derivative, lambda x: torch.sin(x) / x),
        (cosc, cosc_derivative, lambda x: (1 - torch.cos(x)) / x),
    ],
)
def test_cardinal_functions(function, derivative, direct) -> None:
    x = torch.cat([torch.linspace(-7, 7, 4001), torch.logspace(-12, 0, 100)]).double()
    x = x[x.abs() > 1e-13].requires_grad_()
    wide = x.abs() > 1e-3
    torch.testing.assert_close(function(x)[wide], direct(x)[wide], rtol=0, atol=1e-12)
    (slope,) = torch.autograd.grad(function(x).sum(), x)
    torch.testing.assert_close(derivative(x), slope, rtol=0, atol=1e-12)
    single = function(x.detach().float())
    assert (single - function(x)).abs().max() < 2e-7  # upstream's quotient loses all digits here
    assert (derivative(x.detach().float()) - derivative(x)).abs().max() < 1e-6
    assert function(torch.zeros(1)).isfinite()


@given(vectors, vectors, vectors)
@settings(max_examples=100)
def test_shortest_arc_and_its_derivative(a: tuple, b: tuple, c: tuple) -> None:
    u, v, dv = (torch.tensor(x, dtype=torch.float64) for x in (a, b, c))
    if min(u.norm(), v.norm()) < 0.1 or torch.nn.functional.cosine_similarity(u, v, dim=0) < -0.9:
        return
    arc = shortest_arc(u, v)
    torch.testing.assert_close(arc @ u / u.norm(), v / v.norm(), rtol=0, atol=1e-12)
    spin = shortest_arc_spin(u, v, dv[:, None])[:, 0]
    step = 1e-5
    numeric = (shortest_arc(u, v + step * dv) - shortest_arc(u, v - step * dv)) / (2 * step)
    torch.testing.assert_close(skew(spin) @ arc, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_opposite_directions_stay_finite(dtype: torch.dtype) -> None:
    u = torch.tensor([[0.0, 1.0, 0.0]], dtype=dtype)
    assert torch.isfinite(shortest_arc(u, -u)).all()
    assert torch.isfinite(shortest_arc_spin(u, -u, torch.ones(1, 3, 2, dtype=dtype))).all()


@given(st.integers(0, 2**31))
@settings(max_examples=25)
def test_q_survives_the_representation_within_limits(seed: int) -> None:
    """The identity wherever every middle Euler angle is inside (-90, 90) degrees, which the limits guarantee."""
    q = poses_within_limits(8, seed)
    q[:, 1].clamp_(-1.5, 1.5)
    difference = representation_to_q(q_to_representation(q)) - q
    difference = torch.remainder(difference + torch.pi, 2 * torch.pi) - torch.pi
    assert difference.abs().max() < 1e-6


@given(st.integers(0, 2**31))
@settings(max_examples=25)
def test_any_q_gives_the_same_rotations_after_the_representation(seed: int) -> None:
    q = poses_anywhere(8, seed)
    found = representation_to_q(q_to_representation(q))
    torch.testing.assert_close(q_to_rotations(found), q_to_rotations(q), rtol=0, atol=1e-6)
    torch.testing.assert_close(q_to_rotations(rotations_to_q(q_to_rotations(q))), q_to_rotations(q), rtol=0, atol=1e-6)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=144, max_size=144),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=50)
def test_every_network_output_gives_finite_q(values: list[float], dtype: torch.dtype) -> None:
    rep = torch.tensor(values, dtype=dtype).reshape(1, 24, 6)
    assert torch.isfinite(representation_to_q(rep)).all()


@given(st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=25)
def test_gradients_of_the_representation_are_bounded(seed: int, dtype: torch.dtype) -> None:
    """6D vectors of zero length, parallel, tiny, huge; middle angles at and near the gimbal; hinges at (0, 0)."""
    generator = torch.Generator().manual_seed(seed)
    rep = torch.randn(16, 24, 6, generator=generator, dtype=dtype)
    rep[0] = 0
    rep[1, :, 3:] = rep[1, :, :3]
    rep[2, :, :3] = 0
    rep[3] *= 1e-6
    rep[4] *= 1e6
    rep[5, :, 3:] = -2 * rep[5, :, :3] + 1e-7 * rep[6, :, 3:]
    at_gimbal = poses_within_limits(9, seed)
    for joint in (0, 1, 6, 11, 12, 13, 14, 15, 19, 20):
        at_gimbal[:, Q_OF_JOINT[joint][1]] = torch.pi / 2 - torch.tensor(
            [0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1]
        )
    rep[7:] = q_to_representation(at_gimbal).to(dtype)
    rep.requires_grad_()
    q = representation_to_q(rep)
    for value in (q.sum(), q.sin().square().sum(), q_to_rotations(q).sum()):
        (gradient,) = torch.autograd.grad(value, rep, retain_graph=True)
        assert torch.isfinite(gradient).all()
        size = rep.detach().abs().amax((1, 2)).clamp_min(1)
        assert (gradient.abs().amax((1, 2)) <= 1e6 * size).all()


@given(st.integers(0, 2**31))
@settings(max_examples=25)
def test_the_bounded_gradient_goes_down(seed: int) -> None:
    """Near the gimbal it is not the gradient, but for functions of the rotations never uphill."""
    q = poses_within_limits(8, seed)
    for joint in THREE_DOF:
        q[:, Q_OF_JOINT[joint][1]] = torch.pi / 2 - torch.tensor([1e-7, 1e-5, 1e-4, 1e-3, 3e-3, 9e-3, 2e-2, 1])
    rep = q_to_representation(q).requires_grad_()
    slope = torch.randn(24, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        return (q_to_rotations(representation_to_q(x)) * slope).sum((2, 3))

    (gradient,) = torch.autograd.grad(value(rep).sum(), rep)
    step = 1e-7
    with torch.no_grad():
        rise = (value(rep + step * gradient) - value(rep - step * gradient))[:, THREE_DOF] / (2 * step)
    assert (rise >= -1e-6 * gradient[:, THREE_DOF].square().sum(-1) - 1e-6).all()
    away = torch.tensor([False] * 6 + [True] * 2)
    expected = gradient[:, THREE_DOF].square().sum(-1)[away]
    torch.testing.assert_close(rise[away], expected, rtol=1e-4, atol=1e-6)
