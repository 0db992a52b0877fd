"""Two opinions on a pose become one: by their certainty, and for the pelvis along the shortest turn."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.body.representation import q_to_rotations
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.labelling.fused_anchor import fused_anchor


def poses(seed: int, people: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.8 * torch.randn(people, 46, generator=generator, dtype=torch.float64)


def pelvis_turn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Angle (B,) between the pelvis rotations of two poses, rad."""
    return matrix_to_axis_angle(q_to_rotations(b)[:, 0] @ q_to_rotations(a)[:, 0].mT).norm(dim=-1)


def std(value: float) -> torch.Tensor:
    return torch.full((46,), value, dtype=torch.float64)


@given(seed=st.integers(0, 10_000), ratio=st.floats(0.05, 20))
def test_the_more_certain_guess_counts_more(seed: int, ratio: float) -> None:
    a, b = poses(seed), poses(seed + 1)
    together = fused_anchor(a, b, std(ratio), std(1.0).expand(3, 46))
    share = ratio**2 / (ratio**2 + 1)
    torch.testing.assert_close(together[:, 3:], (a + share * (b - a))[:, 3:])
    torch.testing.assert_close(pelvis_turn(a, together), share * pelvis_turn(a, b), atol=1e-6, rtol=1e-6)


@given(seed=st.integers(0, 10_000))
def test_equal_guesses_stay(seed: int) -> None:
    a = poses(seed)
    together = fused_anchor(a, a, std(0.2), std(0.3).expand(3, 46))
    torch.testing.assert_close(q_to_rotations(together), q_to_rotations(a), atol=1e-7, rtol=0)


def test_a_full_turn_apart_is_the_same_pelvis() -> None:
    a = poses(0)
    b = a.clone()
    b[:, 2] += 2 * torch.pi
    assert pelvis_turn(a, fused_anchor(a, b, std(1.0), std(1.0).expand(len(a), 46))).max() < 1e-6
