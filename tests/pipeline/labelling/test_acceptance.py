"""The acceptance rule: which label is better, person by person, and why not."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.body import Skel, load_skel
from pipeline.fit import Skelify
from pipeline.image.camera import project
from pipeline.labelling.acceptance import AcceptConfig, Measured, judge, limit_violation, measure
from pipeline.labelling.evidence import Evidence, energy
from schemas.labels import Decision
from schemas.skel import N_UNLIMITED
from tests.pipeline.body.poses import limits, poses_within_limits, shapes, upright_poses
from tests.pipeline.labelling.made_evidence import evidence_of

CONFIG = AcceptConfig()
KEPT = {d for d in Decision if d.startswith("kept")}


@pytest.fixture(scope="module")
def skel() -> Skel:
    return load_skel(dtype=torch.float64)


def measured(energy: float = 10.0, error: float = 0.01, **changes: float | bool) -> Measured:
    """One person's measurements, good ones unless changed."""
    values = {"limit_violation": 0.0, "betas_size": 1.0, "finite": True, "kp2d_error": error, "energy": float(energy)}
    return Measured(cam_t=torch.zeros(1, 3), **{k: torch.tensor([v]) for k, v in (values | changes).items()})


def many_keypoints(count: int = 1) -> Tensor:
    grid = torch.linspace(-0.4, 0.4, 44)
    return torch.stack([grid, grid.flip(0), torch.ones(44)], 1).expand(count, -1, -1)


def decide(
    parent: Measured, candidate: Measured, *, has_parent: bool = True, keypoints: Tensor | None = None
) -> Decision:
    keypoints = many_keypoints() if keypoints is None else keypoints
    return judge(parent, candidate, torch.tensor([has_parent]), keypoints, CONFIG)[0]


NAN, INF = float("nan"), float("inf")
FEW = torch.cat([many_keypoints()[:, :4], torch.zeros(1, 40, 3)], 1)
CASES: tuple[tuple[str, Measured, Measured, bool, Tensor | None, Decision], ...] = (
    ("better", measured(20), measured(10), True, None, Decision.IMPROVED),
    (
        "further from its keypoints, but more probable",
        measured(20, 0.01),
        measured(10, 0.059),
        True,
        None,
        Decision.IMPROVED,
    ),
    ("first and good", measured(NAN, NAN), measured(10, 0.05), False, None, Decision.FIRST_LABEL),
    ("first and poor", measured(NAN, NAN), measured(10, 0.051), False, None, Decision.NO_LABEL),
    ("equal", measured(10), measured(10), True, None, Decision.KEPT_NOT_BETTER),
    ("worse", measured(10), measured(20), True, None, Decision.KEPT_NOT_BETTER),
    (
        "worse, but nearer to its keypoints",
        measured(10, 0.05),
        measured(20, 0.01),
        True,
        None,
        Decision.KEPT_NOT_BETTER,
    ),
    ("by less than 0.1 %", measured(100), measured(99.91), True, None, Decision.KEPT_NOT_BETTER),
    ("by just 0.1 %", measured(100), measured(99.89), True, None, Decision.IMPROVED),
    ("by less than 0.01", measured(1), measured(0.991), True, None, Decision.KEPT_NOT_BETTER),
    ("by just 0.01", measured(1), measured(0.989), True, None, Decision.IMPROVED),
    ("stout", measured(20), measured(10, betas_size=3.01), True, None, Decision.KEPT_BETAS_OUT_OF_RANGE),
    ("beta 3", measured(20), measured(10, betas_size=3.0), True, None, Decision.IMPROVED),
    ("bent too far", measured(20), measured(10, limit_violation=0.011), True, None, Decision.KEPT_LIMITS),
    (
        "no further than the parent",
        measured(20, limit_violation=0.1),
        measured(10, limit_violation=0.105),
        True,
        None,
        Decision.IMPROVED,
    ),
    ("bent, first", measured(NAN, NAN), measured(10, limit_violation=0.011), False, None, Decision.NO_LABEL),
    ("beside its keypoints", measured(20, 0.01), measured(10, 0.061), True, None, Decision.KEPT_GROSS_MISFIT),
    ("as far beside as the parent", measured(20, 0.2), measured(10, 0.2), True, None, Decision.IMPROVED),
    ("not finite", measured(20), measured(10, finite=False), True, None, Decision.KEPT_NOT_FINITE),
    ("NaN betas", measured(20), measured(10, betas_size=NAN), True, None, Decision.KEPT_BETAS_OUT_OF_RANGE),
    ("NaN energy", measured(20), measured(NAN), True, None, Decision.KEPT_NOT_BETTER),
    ("infinite energy", measured(20), measured(INF), True, None, Decision.KEPT_NOT_BETTER),
    ("NaN energy of the parent", measured(NAN), measured(10), True, None, Decision.KEPT_NOT_BETTER),
    ("NaN error", measured(20), measured(10, NAN), True, None, Decision.KEPT_GROSS_MISFIT),
    ("NaN error, first", measured(NAN, NAN), measured(10, NAN), False, None, Decision.NO_LABEL),
    ("few points", measured(20), measured(10), True, FEW, Decision.KEPT_TOO_FEW_KEYPOINTS),
    ("few points, first", measured(NAN, NAN), measured(10), False, FEW, Decision.NO_LABEL),
)


@pytest.mark.parametrize(
    ("parent", "candidate", "has_parent", "points", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_decision(
    parent: Measured, candidate: Measured, has_parent: bool, points: Tensor | None, expected: Decision
) -> None:
    assert decide(parent, candidate, has_parent=has_parent, keypoints=points) == expected


def test_every_decision_of_the_rule_has_a_case() -> None:
    by_others = {Decision.CONVERTED, Decision.CONVERTED_POOR_FIT, Decision.IMPORTED, Decision.KEPT_UNREADABLE}
    by_others |= {Decision.KEPT_FAR_FROM_SMPL}  # by the rule of before, and by imports
    by_others |= {Decision.KEPT_NOT_IMPORTED, *(decision for decision in Decision if decision.startswith("refused_"))}
    assert {c[-1] for c in CASES} == set(Decision) - by_others


measurements = st.builds(
    measured,
    energy=st.one_of(st.just(NAN), st.just(INF), st.floats(0, 1e4)),
    error=st.one_of(st.just(NAN), st.floats(0, 0.2)),
    limit_violation=st.floats(0, 0.05),
    betas_size=st.floats(0, 4),
    finite=st.booleans(),
)


def stacked(people: list[Measured]) -> Measured:
    return Measured(*(torch.cat([getattr(p, f.name) for p in people]) for f in fields(Measured)))


@given(st.lists(st.tuples(measurements, measurements, st.booleans()), min_size=1, max_size=8))
@settings(max_examples=100)
def test_energy_never_rises_and_nobody_depends_on_the_others(people: list[tuple[Measured, Measured, bool]]) -> None:
    parents, candidates = stacked([p for p, _, _ in people]), stacked([c for _, c, _ in people])
    has_parent = torch.tensor([p[2] for p in people])
    decisions = judge(parents, candidates, has_parent, many_keypoints(len(people)), CONFIG)
    for (parent, candidate, had), decision in zip(people, decisions, strict=True):
        assert decide(parent, candidate, has_parent=had) == decision
        if decision == Decision.IMPROVED:
            assert had
            assert candidate.energy < parent.energy
            assert candidate.kp2d_error <= parent.kp2d_error + CONFIG.gross_error
            assert candidate.finite
        elif decision == Decision.FIRST_LABEL:
            assert not had
            assert candidate.kp2d_error <= CONFIG.first_label_max_error
        else:
            assert (decision in KEPT) == had
            assert (decision == Decision.NO_LABEL) == (not had)


def perfect_people(skel: Skel, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, betas and the keypoints that show exactly them."""
    q, betas = upright_poses(count, 1), shapes(count, 2)
    cam_t = torch.tensor([0.1, -0.1, 45.0], dtype=torch.float64).expand(count, -1)
    xy = project(skel.keypoints(q, betas), cam_t)
    return q, betas, torch.cat([xy, torch.ones_like(xy[..., :1])], -1)


def measured_all(skelify: Skelify, q: Tensor, betas: Tensor, known: Evidence) -> Measured:
    measured = measure(skelify.model, q, betas, known.keypoints, known.focal)
    return replace(measured, energy=energy(skelify, known, q, betas))


def test_a_perfect_label_is_never_replaced(skel: Skel) -> None:
    q, betas, keypoints = perfect_people(skel, 20)
    skelify, known = Skelify(skel), evidence_of(q, betas, keypoints)
    perfect = measured_all(skelify, q, betas, known)
    assert perfect.kp2d_error.max() < 1e-5
    assert perfect.energy.max() < 1.0
    has_parent = torch.ones(20, dtype=torch.bool)
    for seed, size in enumerate((0.0, 1e-4, 1e-2, 0.3)):
        noise = size * torch.randn(20, 46, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        candidate = measured_all(skelify, q + noise, betas, known)
        assert not {Decision.IMPROVED} & set(judge(perfect, candidate, has_parent, keypoints, CONFIG))


def test_measuring_does_not_depend_on_the_batch(skel: Skel) -> None:
    q, betas, keypoints = perfect_people(skel, 8)
    q = q + 0.05
    q[3] = torch.nan
    together = measure(skel, q, betas, keypoints)
    for person in range(8):
        alone = measure(skel, *(x[person : person + 1] for x in (q, betas, keypoints)))
        for field in fields(Measured):
            torch.testing.assert_close(
                getattr(alone, field.name)[0],
                getattr(together, field.name)[person],
                rtol=1e-6,
                atol=1e-9,
                equal_nan=True,
            )
    assert together.finite.tolist() == [True, True, True, False, True, True, True, True]


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_label_that_is_not_finite_is_never_taken(skel: Skel, value: float) -> None:
    q, betas, keypoints = perfect_people(skel, 3)
    broken_q, broken_betas = q.clone(), betas.clone()
    broken_q[0, 7], broken_betas[1, 3] = value, value
    skelify, known = Skelify(skel), evidence_of(q, betas, keypoints)
    candidate = measured_all(skelify, broken_q, broken_betas, known)
    worse = measured_all(skelify, q + 0.05, betas, known)
    found = judge(worse, candidate, torch.ones(3, dtype=torch.bool), keypoints, CONFIG)
    assert found == [Decision.KEPT_NOT_FINITE, Decision.KEPT_NOT_FINITE, Decision.IMPROVED]


def test_limit_violation() -> None:
    low, high = limits()
    at_limits = torch.stack([low, high, (low + high) / 2])
    assert not limit_violation(at_limits).any()
    assert not limit_violation(at_limits.float()).any(), "a limit rounded to float32 is not a violation"
    beyond = at_limits[1:2].clone()
    beyond[0, 6], beyond[0, 20] = beyond[0, 6] + 0.2, beyond[0, 20] + 0.1
    assert limit_violation(beyond).item() == pytest.approx(0.2, abs=1e-5)
    spun = poses_within_limits(1, 0)
    spun[:, :N_UNLIMITED] = 50.0
    assert not limit_violation(spun).any()
