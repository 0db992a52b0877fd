"""Rotations: Rodrigues, shortest arcs, 6D, and Euler angles that stay finite at the gimbal.

Matrices act on column vectors. Angles in rad. All functions are batched over leading dimensions and differentiable.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_SERIES_BELOW = 0.25  # the truncated series below this are exact to 1e-16
_SLOPE_FLOOR = 1e-2  # gradients of directions shorter than this are damped: at most 100, and 0 in the limit


def wrapped(angles: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The same angles, rad, in [-pi, pi)."""
    return torch.remainder(angles + torch.pi, 2 * torch.pi) - torch.pi


def sinc(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """sin(x) / x with a gradient that is right at zero (the quotient loses all digits there)."""
    y = x * x
    series = 1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110))))
    small = x.abs() < _SERIES_BELOW
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, torch.sin(safe) / safe)


def sinc_derivative(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """d/dx (sin(x) / x) = (cos(x) - sinc(x)) / x, by its series near zero where the quotient cancels."""
    y = x * x
    series = -x / 3 * (1 - y / 10 * (1 - y / 28 * (1 - y / 54 * (1 - y / 88))))
    small = x.abs() < _SERIES_BELOW
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, (torch.cos(safe) - torch.sin(safe) / safe) / safe)


def cosc(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """(1 - cos(x)) / x = sin(x/2) sinc(x/2)."""
    return torch.sin(x / 2) * sinc(x / 2)


def cosc_derivative(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """d/dx ((1 - cos(x)) / x) = sinc(x) - sinc(x/2)^2 / 2."""
    return sinc(x) - sinc(x / 2) ** 2 / 2


def skew(v: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Matrix of the cross product: skew(v) @ x = v x x."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)


def rotation_about(axis: Float[Tensor, "... 3"], angle: Float[Tensor, "..."]) -> Float[Tensor, "... 3 3"]:
    """Rodrigues' formula for a unit axis and an angle in rad."""
    k = skew(axis)
    sin, one_minus_cos = torch.sin(angle), 2 * torch.sin(angle / 2) ** 2
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return eye + sin[..., None, None] * k + one_minus_cos[..., None, None] * (k @ k)


def axis_angle_to_matrix(v: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """exp(skew(v)), exact and differentiable at zero."""
    angle = torch.sqrt((v * v).sum(-1) + torch.finfo(v.dtype).tiny)
    k = skew(v)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    half = sinc(angle / 2)
    return eye + sinc(angle)[..., None, None] * k + (half * half / 2)[..., None, None] * (k @ k)


def matrix_to_axis_angle(r: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """Axis-angle of length <= pi, through the largest quaternion component so that it is right at pi too."""
    m = r
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], -1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    best = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    q = torch.take_along_dim(rows, best[..., None, None].expand(*best.shape, 1, 4), -2).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    half = torch.atan2(q[..., 1:].norm(dim=-1), q[..., 0])
    return q[..., 1:] * (2 / sinc(half))[..., None] * torch.ones_like(half)[..., None]


def shortest_arc(u: Float[Tensor, "... 3"], v: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Shortest rotation taking the direction of u to that of v: I + K + K^2 / (1 + c) (docs/body_model.md).

    Opposite directions have no shortest rotation; the denominator is kept positive so that the result stays finite.
    """
    u, v = _unit(u), _unit(v)
    k = skew(torch.linalg.cross(u, v))
    c = (u * v).sum(-1)
    eye = torch.eye(3, dtype=u.dtype, device=u.device)
    return eye + k + (k @ k) / _one_plus(c)[..., None, None]


def shortest_arc_spin(
    u: Float[Tensor, "... 3"], v: Float[Tensor, "... 3"], dv: Float[Tensor, "... 3 P"]
) -> Float[Tensor, "... 3 P"]:
    """Spin vectors of `shortest_arc(u, v)` when v moves by dv: d(N)/dp = skew(spin_p) N.

    From the quaternion (1 + c, u x v) / sqrt(2 (1 + c)):
    spin = u x dv^ + (u (u . (v x dv^)) - (u . dv^) (u x v)) / (1 + c), dv^ the change of the unit vector.
    """
    u, n = _unit(u), v.norm(dim=-1)[..., None, None]
    v = _unit(v)
    dv = (dv - v[..., None] * (v[..., None] * dv).sum(-2, keepdim=True)) / n
    ux = skew(u)
    udv = (u[..., None] * dv).sum(-2, keepdim=True)
    uvdv = (u[..., None] * (skew(v) @ dv)).sum(-2, keepdim=True)
    uv = torch.linalg.cross(u, v)[..., None]
    return ux @ dv + (u[..., None] * uvdv - udv * uv) / _one_plus((u * v).sum(-1))[..., None, None]


def _unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)


def _one_plus(c: Tensor) -> Tensor:
    return (1 + c).clamp_min(4 * torch.finfo(c.dtype).eps)


class _BoundedAtan2(torch.autograd.Function):
    """atan2(y, x), exact; its gradient (x, -y) / r^2 with r no shorter than _SLOPE_FLOOR."""

    @staticmethod
    def forward(y: Tensor, x: Tensor) -> Tensor:
        return torch.atan2(y, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,), (y, x) = grad_outputs, ctx.saved_tensors
        r = torch.hypot(y, x).clamp_min(_SLOPE_FLOOR)
        return grad * (x / r / r), -grad * (y / r / r)


class _BoundedUnit(torch.autograd.Function):
    """v / |v|, exact (0 for 0); its gradient (I - u u^T) / |v| with |v| no shorter than _SLOPE_FLOOR."""

    @staticmethod
    def forward(v: Tensor) -> Tensor:
        return _unit(v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,), (v, u) = grad_outputs, ctx.saved_tensors
        return (grad - u * (u * grad).sum(-1, keepdim=True)) / v.norm(dim=-1, keepdim=True).clamp_min(_SLOPE_FLOOR)


def bounded_atan2(y: Float[Tensor, "*N"], x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """atan2 whose gradient stays bounded (by 100) where y and x both vanish: exact from 0.01 on, damped below."""
    return _BoundedAtan2.apply(y, x)


def rotation_from_6d(rep: Float[Tensor, "... 6"]) -> Float[Tensor, "... 3 3"]:
    """Gram-Schmidt of two ROWS, the third is their cross product (Zhou et al., CVPR 2019, in HSMR's row convention).

    Degenerate input (zero or parallel rows) gives finite numbers, not a rotation, and a bounded gradient.
    """
    a, b = rep[..., :3].double(), rep[..., 3:].double()  # nearly parallel rows cancel: 1e-3 wrong in float32
    first = _BoundedUnit.apply(a)
    second = _BoundedUnit.apply(b - (first * b).sum(-1, keepdim=True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -2).to(rep.dtype)


def euler_from_matrix(r: Float[Tensor, "... 3 3"], order: str) -> Float[Tensor, "... 3"]:
    """Intrinsic Tait-Bryan angles (a, b, c) with r = R_order[0](a) R_order[1](b) R_order[2](c), |b| <= pi/2.

    The middle angle is atan2(sine, hypot) instead of asin(sine): the same value, but finite in float32 at +-90 degrees
    and with a bounded gradient. At the gimbal itself c = 0 is chosen, so the rotation is always reproduced.
    Within 0.6 degrees of the gimbal, where the gradients of a and c grow without bound, both are scaled down alike
    (decision 0010).
    """
    i, j, k = ("XYZ".index(letter) for letter in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    sine = sign * r[..., i, k]
    cosine = torch.sqrt(r[..., i, i] ** 2 + r[..., i, j] ** 2 + torch.finfo(r.dtype).tiny)
    middle = bounded_atan2(sine, cosine)
    gimbal = cosine < 16 * torch.finfo(r.dtype).eps
    one, zero = torch.ones_like(sine), torch.zeros_like(sine)
    first = bounded_atan2(
        torch.where(gimbal, sign * r[..., k, j], -sign * r[..., j, k]), torch.where(gimbal, r[..., j, j], r[..., k, k])
    )
    last = bounded_atan2(torch.where(gimbal, zero, -sign * r[..., i, j]), torch.where(gimbal, one, r[..., i, i]))
    return torch.stack([first, middle, last], -1)
