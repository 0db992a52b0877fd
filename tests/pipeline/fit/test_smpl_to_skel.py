"""SMPL to SKEL: on meshes that SKEL itself made, and on real motion."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.body import Skel, Smpl
from pipeline.fit import SmplToSkel, SmplToSkelResult
from schemas.skel import N_UNLIMITED
from tests.pipeline.body.poses import limits, shapes, upright_poses
from tests.shape_checks import shapes_unchecked

KNEES, STRAIGHTEST = [4, 5], np.deg2rad(135)
MEAN_MM, MAX_MM, SHARE = 8.0, 60.0, 0.99  # what conversion has to reach


@pytest.fixture(scope="module")
def converter(open_smpl: Smpl, open_skel: Skel) -> SmplToSkel:
    return SmplToSkel(open_smpl, open_skel)


def rows_of(result: SmplToSkelResult, rows: Tensor | slice) -> SmplToSkelResult:
    return SmplToSkelResult(*(x[rows] for x in result))


def assert_same(got: SmplToSkelResult, expected: SmplToSkelResult, skel: Skel) -> None:
    assert (got.q - expected.q).abs().max() < 1e-4
    assert (got.betas - expected.betas).abs().max() < 1e-3
    joints = [skel.joints(x.q, x.betas) + x.trans[:, None] for x in (got, expected)]
    assert (joints[0] - joints[1]).abs().max() < 1e-4
    assert torch.equal(got.poor_fit, expected.poor_fit)


def smpl_poses(count: int, seed: int, size: float = 0.25) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pose = size * torch.randn(count, 24, 3, generator=generator, dtype=torch.float64)
    pose[:, 0] = 2 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return pose


def test_a_mesh_of_skel_itself_is_reproduced(open_skel: Skel, converter: SmplToSkel) -> None:
    q, betas = upright_poses(12, 1, share=0.9), shapes(12, 2)
    trans = torch.randn(12, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = converter.fit_mesh(open_skel(q, betas, trans).skin_vertices, betas)
    assert found.pve_mean_mm.max() < 2
    assert found.pve_max_mm.max() < 15
    assert not found.poor_fit.any()
    joints = (
        open_skel.joints(found.q, found.betas) + found.trans[:, None] - (open_skel.joints(q, betas) + trans[:, None])
    )
    assert joints.norm(dim=-1).max() < 0.01


def test_reported_distance_is_that_of_the_result(open_smpl: Smpl, open_skel: Skel, converter: SmplToSkel) -> None:
    pose, betas = smpl_poses(8, 1), shapes(8, 2)
    found = converter.fit(pose, betas)
    distance = open_skel(found.q, found.betas, found.trans).skin_vertices - open_smpl(pose, betas).vertices
    torch.testing.assert_close(found.pve_mean_mm, 1000 * distance.norm(dim=-1).mean(1), rtol=0, atol=1e-2)
    torch.testing.assert_close(found.pve_max_mm, 1000 * distance.norm(dim=-1).amax(1), rtol=0, atol=1e-2)
    assert distance.mean(1).abs().max() < 1e-5
    assert torch.equal(found.poor_fit, found.pve_max_mm > MAX_MM)


def test_no_single_angle_could_do_better(open_smpl: Smpl, open_skel: Skel, converter: SmplToSkel) -> None:
    """Moving any one angle by half a degree, within limits, does not lower the mean square distance by 3 %."""
    pose, betas = smpl_poses(3, 4), shapes(3, 5)
    found, target = converter.fit(pose, betas), open_smpl(pose, betas).vertices
    low, high = limits()

    def distance(q: Tensor) -> Tensor:
        difference = open_skel(q, found.betas).skin_vertices - target
        return (difference - difference.mean(1, keepdim=True)).square().sum(-1).mean(1)

    reached = distance(found.q)
    for d in range(46):
        for step in (np.deg2rad(0.5), -np.deg2rad(0.5)):
            q = found.q.clone()
            q[:, d] += step
            allowed = torch.ones(3, dtype=torch.bool) if d < N_UNLIMITED else (q[:, d] >= low[d]) & (q[:, d] <= high[d])
            assert (distance(q)[allowed] > 0.97 * reached[allowed]).all(), (d, step)


def test_limits_hold_for_impossible_poses(converter: SmplToSkel) -> None:
    low, high = limits()
    found = converter.fit(smpl_poses(16, 6, size=1.5), shapes(16, 7, size=3))
    assert ((found.q >= low) & (found.q <= high))[:, N_UNLIMITED:].all()
    assert found.betas.abs().max() <= 3
    assert found.poor_fit.any()
    assert all(torch.isfinite(x.double()).all() for x in found)


def test_results_do_not_depend_on_batch_or_order(open_skel: Skel, converter: SmplToSkel) -> None:
    pose, betas = smpl_poses(9, 8), shapes(9, 9)
    together = converter.fit(pose, betas)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    assert_same(converter.fit(pose[order], betas[order]), rows_of(together, order), open_skel)
    for person in range(3):
        part = slice(person, person + 1)
        assert_same(converter.fit(pose[part], betas[part]), rows_of(together, part), open_skel)


def test_in_float32_the_batch_size_matters_little(open_smpl: Smpl, open_skel: Skel) -> None:
    """Rounding that depends on the batch decides when a fit stops; hence fits run in float64 unless asked otherwise."""
    converter, pose, betas = SmplToSkel(open_smpl, open_skel.to("cpu", torch.float32)), smpl_poses(9, 8), shapes(9, 9)
    together = converter.fit(pose, betas)
    assert together.q.dtype == torch.float32
    for person in range(3):
        alone = converter.fit(pose[person : person + 1], betas[person : person + 1])
        joints = [
            open_skel.joints(x.q.double(), x.betas.double())
            for x in (alone, rows_of(together, slice(person, person + 1)))
        ]
        assert (joints[0] - joints[1]).norm(dim=-1).max() < 5e-3


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_bad_numbers_stay_with_their_frame(open_skel: Skel, converter: SmplToSkel, value: float) -> None:
    pose, betas = smpl_poses(5, 10), shapes(5, 11)
    clean = converter.fit(pose, betas)
    pose[2, 4, 0] = value
    found = converter.fit(pose, betas)
    others = torch.tensor([0, 1, 3, 4])
    assert_same(rows_of(found, others), rows_of(clean, others), open_skel)
    assert found.poor_fit[2]
    assert not torch.isfinite(found.pve_mean_mm[2])


def test_float32_agrees_with_float64(open_smpl: Smpl, open_skel: Skel, converter: SmplToSkel) -> None:
    pose, betas = smpl_poses(8, 12), shapes(8, 13)
    double, single = (
        converter.fit(pose, betas),
        SmplToSkel(open_smpl, open_skel.to("cpu", torch.float32)).fit(pose, betas),
    )
    assert (double.pve_mean_mm - single.pve_mean_mm).abs().max() < 0.05
    joints = open_skel.joints(double.q, double.betas) - open_skel.joints(single.q.double(), single.betas.double())
    assert joints.norm(dim=-1).max() < 1e-3


def test_nobody(converter: SmplToSkel) -> None:
    assert converter.fit(torch.zeros(0, 24, 3), torch.zeros(0, 10)).q.shape == (0, 46)


def test_wrong_shapes_are_refused(converter: SmplToSkel) -> None:
    with shapes_unchecked(), pytest.raises(ValueError, match=r"expected pose \(B, 24, 3\)"):
        converter.fit(torch.zeros(2, 23, 3), torch.zeros(2, 10))


def convert_clips(shared_dir: Path, converter: SmplToSkel, stride: int) -> None:
    """What conversion has to reach on motion capture, clip by clip, with a table of what was reached."""
    low, high = limits()
    bent_total, worst_share, print_rows, means = 0, 1.0, [], {}
    clips = sorted((shared_dir / "data" / "mocap").glob("*.npz"))
    assert len(clips) == 12
    frames_total, good_total = 0, 0
    for clip in clips:
        with np.load(clip, allow_pickle=False) as motion:
            poses = torch.as_tensor(motion["poses"][::stride]).reshape(-1, 24, 3)
        found = SmplToSkelResult(
            *map(torch.cat, zip(*(converter.fit(p, torch.zeros(len(p), 10)) for p in poses.split(64)), strict=True))
        )
        scored = poses[:, KNEES].norm(dim=-1).amax(1) <= STRAIGHTEST
        assert ((found.q >= low) & (found.q <= high))[:, N_UNLIMITED:].all(), clip.stem
        assert torch.equal(found.poor_fit, found.pve_max_mm > MAX_MM), clip.stem
        mean, worst = found.pve_mean_mm[scored], found.pve_max_mm[scored]
        good = int((worst <= MAX_MM).sum())
        frames_total, good_total, bent_total = (
            frames_total + len(worst),
            good_total + good,
            bent_total + int((~scored).sum()),
        )
        worst_share, means[clip.stem] = min(worst_share, good / len(worst)), float(mean.mean())
        bent = f"{found.pve_max_mm[~scored].max():6.1f}" if (~scored).any() else "     -"
        print_rows.append(
            f"{clip.stem:14} {len(worst):6} {mean.mean():9.2f} {mean.max():9.2f} {worst.max():9.1f} "
            f"{good / len(worst):8.1%} {int((~scored).sum()):5} {bent}"
        )
    print(f"\n{'clip':14} {'frames':>6} {'PVE mean':>9} {'worst mean':>9} {'PVE max':>9} {'<=60 mm':>8} bent  max")
    print("\n".join(print_rows))
    print(
        f"{good_total} of {frames_total} frames <= {MAX_MM:.0f} mm; {bent_total} frames with a knee beyond 135 degrees"
    )
    assert max(means.values()) <= MEAN_MM, means
    assert good_total >= SHARE * frames_total


def test_real_motion(shared_dir: Path, converter: SmplToSkel) -> None:
    convert_clips(shared_dir, converter, stride=8)


@pytest.mark.slow
def test_real_motion_every_frame(shared_dir: Path, converter: SmplToSkel) -> None:
    convert_clips(shared_dir, converter, stride=1)


def test_lying_and_turned_people_convert_as_well(converter: SmplToSkel) -> None:
    """The same pose whichever way the person lies gives the same fit."""
    upright = smpl_poses(1, 14).repeat(8, 1, 1)
    generator = torch.Generator().manual_seed(15)
    upright[:, 0] = 3 * torch.nn.functional.normalize(
        torch.randn(8, 3, generator=generator, dtype=torch.float64), dim=1
    )
    found = converter.fit(upright, torch.zeros(8, 10))
    assert (found.pve_mean_mm - found.pve_mean_mm[0]).abs().max() < 0.1
    assert (found.q[:, N_UNLIMITED:] - found.q[0, N_UNLIMITED:]).abs().max() < 0.02
