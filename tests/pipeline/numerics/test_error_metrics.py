"""Metrics against the original code's numbers and against what they must be for any input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.numerics.error_metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm, pck, procrustes_align, right_keypoints
from schemas.keypoints import PELVIS
from tests.shape_checks import shapes_unchecked

seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, torch.Tensor]:
    with np.load(golden_dir / "metrics.npz", allow_pickle=False) as arrays:
        names = [name for name in arrays.files if arrays[name].dtype.kind in "fiu"]
        return {name: torch.as_tensor(arrays[name]) for name in names}


def random_rotation(generator: torch.Generator) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return q * torch.linalg.det(q)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_position_errors(golden: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Identical, mirrored and planar people included; 1e-3 mm (tests/golden/README.md)."""
    for points, error, aligned in (("joints", "mpjpe_mm", "pa_mpjpe_mm"), ("verts", "mpve_mm", "pa_mpve_mm")):
        predicted, truth = golden[f"pd_{points}"].to(dtype), golden[f"gt_{points}"].to(dtype)
        torch.testing.assert_close(mpjpe_mm(predicted, truth), golden[error].to(dtype), atol=1e-3, rtol=0)
        torch.testing.assert_close(pa_mpjpe_mm(predicted, truth), golden[aligned].to(dtype), atol=1e-3, rtol=0)


def test_golden_hmr2_protocol(golden: dict[str, torch.Tensor]) -> None:
    """Centred on the pelvis, scored on the 14 of H36M and 3DPW."""
    scored = golden["hmr2_keypoint_list"].tolist()
    predicted, truth = golden["hmr2_pd_kp3d"].double(), golden["hmr2_gt_kp3d"].double()[..., :3]
    predicted, truth = ((points - points[:, PELVIS, None])[:, scored] for points in (predicted, truth))
    torch.testing.assert_close(mpjpe_mm(predicted, truth), golden["hmr2_mpjpe_mm"].double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(pa_mpjpe_mm(predicted, truth), golden["hmr2_pa_mpjpe_mm"].double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("hips", [[8], [9, 12], [27, 28]])
def test_the_pelvis_of_h36m_is_keypoint_39_and_not_between_the_hips(
    golden: dict[str, torch.Tensor], hips: list[int]
) -> None:
    assert PELVIS == 39
    scored = golden["hmr2_keypoint_list"].tolist()
    predicted, truth = golden["hmr2_pd_kp3d"].double(), golden["hmr2_gt_kp3d"].double()[..., :3]
    predicted, truth = ((points - points[:, hips].mean(1, keepdim=True))[:, scored] for points in (predicted, truth))
    away = (mpjpe_mm(predicted, truth) - golden["hmr2_mpjpe_mm"].double()).abs()
    assert away.max() > 1, "the original's numbers are of another pelvis"


def test_golden_pck(golden: dict[str, torch.Tensor]) -> None:
    unit = golden["pck_box_size"].double() / (200 * golden["pck_scale"].double()).amax(-1)
    predicted, truth = golden["pck_pd_kp2d"].double(), golden["pck_gt_kp2d"].double()
    thresholds = golden["pck_thresholds"].tolist()
    counts = right_keypoints(predicted, truth[..., :2], truth[..., 2] > 0.5, unit, thresholds)
    result = pck(*counts)
    np.testing.assert_allclose(result.per_keypoint.nan_to_num(-1), golden["pck_per_keypoint"], atol=1e-7)
    np.testing.assert_allclose(result.mean, golden["pck_avg"], atol=1e-7)
    assert result.valid_keypoints == int(golden["pck_valid_keypoints"][0])


def test_pck_counts_add_up_over_batches() -> None:
    generator = torch.Generator().manual_seed(3)
    predicted, truth = torch.rand(2, 9, 5, 2, generator=generator)
    valid = torch.rand(9, 5, generator=generator) < 0.5
    valid[:, 4] = False
    whole = right_keypoints(predicted, truth, valid, 1.0, (0.2, 0.5))
    parts = [
        right_keypoints(*(tensor[i : i + 3] for tensor in (predicted, truth, valid)), unit=1.0, thresholds=(0.2, 0.5))
        for i in (0, 3, 6)
    ]
    for count, by_part in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(count, torch.stack(by_part).sum(0))
    result = pck(*whole)
    assert result.valid_keypoints == 4
    assert result.per_keypoint[:, 4].isnan().all()
    near = (predicted - truth).norm(dim=-1) < 0.5
    torch.testing.assert_close(result.per_keypoint[1, 0], near[valid[:, 0], 0].float().mean())
    assert result.mean[0] < result.mean[1]


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_pa_mpjpe_does_not_see_similarities(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(2, 24, 3, generator=generator, dtype=torch.float64)
    moved = 1.7 * truth @ random_rotation(generator).T + 3.0
    torch.testing.assert_close(pa_mpjpe_mm(moved, truth), torch.zeros(2, dtype=torch.float64), atol=1e-8, rtol=0)
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    turned = 0.6 * noisy @ random_rotation(generator).T - 1.0
    torch.testing.assert_close(pa_mpjpe_mm(turned, truth), pa_mpjpe_mm(noisy, truth))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_mirrored_people_are_not_forgiven(seed: int) -> None:
    """Only proper rotations: a reflected point cloud keeps an error, and the map found is no reflection."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(1, 24, 3, generator=generator, dtype=torch.float64)
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0])
    assert float(pa_mpjpe_mm(mirrored, truth)) > 50
    aligned = procrustes_align(mirrored, truth)
    moved, source = aligned - aligned.mean(1, keepdim=True), mirrored - mirrored.mean(1, keepdim=True)
    assert torch.linalg.det((source.mT @ moved)[0]) * torch.linalg.det((source.mT @ source)[0]) > 0


def test_root_alignment_removes_translation_only() -> None:
    truth = torch.randn(3, 24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shifted = truth + torch.tensor([0.3, -0.2, 5.0])
    assert float(mpjpe_mm(shifted, truth, root=0).max()) < 1e-9
    assert float(mpjpe_mm(shifted, truth).min()) > 5000
    assert float(mpvpe_mm(shifted, truth, shifted[:, :1], truth[:, :1]).max()) < 1e-9
    assert float(mpjpe_mm(2 * truth, truth, root=0).min()) > 100


def test_points_in_one_place_stay_finite() -> None:
    truth = torch.randn(1, 24, 3, generator=torch.Generator().manual_seed(2))
    assert torch.isfinite(pa_mpjpe_mm(torch.zeros(1, 24, 3), truth)).all()


def test_wrong_shapes_are_named() -> None:
    with shapes_unchecked(), pytest.raises(ValueError, match=r"\(1, 24, 2\)"):
        mpjpe_mm(torch.zeros(1, 24, 2), torch.zeros(1, 24, 2))
