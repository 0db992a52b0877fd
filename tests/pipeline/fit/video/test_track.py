"""Video: whole tracks on converted motion capture, against fitting frame by frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.made.people import inside_limits
from benchmarks.made.track_clips import Track, converted, frame_rate
from pipeline.body import Skel, Smpl
from pipeline.fit import Anchor, Skelify, SkelifyConfig, SkelifyResult
from pipeline.fit.objectives.opinion import Opinion
from pipeline.fit.video.track import TrackConfig, TrackFit
from tests.shape_checks import shapes_unchecked

QUICK = ("dance_a", "backflip")
MEASURED_FRAMES = 200
FPS = 60


@pytest.fixture(scope="module")
def skelify(open_skel: Skel) -> Skelify:
    """Told what noise these made keypoints have: 1.5 px, half of a real detector's and not shared by neighbours."""
    return Skelify(open_skel, SkelifyConfig(noise="uniform"))


@pytest.fixture(scope="module")
def track(shared_dir: Path, open_smpl: Smpl, open_skel: Skel) -> Track:
    path = shared_dir / "data" / "mocap" / "dance_a.npz"
    return Track(open_skel, *converted(path, open_smpl, open_skel, 24))


def together(skelify: Skelify, track: Track, times: Tensor, config: TrackConfig | None = None) -> SkelifyResult:
    return TrackFit(skelify, config).fit(track.keypoints, times, skelify.fit(track.keypoints, *track.start))


def check_clips(paths: list[Path], open_smpl: Smpl, open_skel: Skel, skelify: Skelify, frames: int) -> None:
    """Jitter halves and MPJPE falls, in the mean over as many draws of the noise as make 200 frames."""
    print(f"\n{'clip':14} fps frames draws  jitter mm/frame^2: frames, track      MPJPE mm: frames, track")
    for path in paths:
        fps = frame_rate(path)
        q, betas = converted(path, open_smpl, open_skel, frames)
        draws = -(-MEASURED_FRAMES // len(q))
        rows = []
        for seed in range(1, 1 + draws):
            clip = Track(open_skel, q, betas, seed)
            single = skelify.fit(clip.keypoints, *clip.start)
            whole = TrackFit(skelify).fit(clip.keypoints, clip.frames / fps, single)
            rows.append([measure(open_skel, f) for f in (single, whole) for measure in (clip.jitter_mm, clip.mpjpe_mm)])
        one, error, other, error_of_track = np.mean(rows, 0)
        print(
            f"{path.stem:14} {fps:3.0f} {len(q):6} {draws:5} {one:19.1f} {other:6.1f}  x {other / one:.2f}"
            f" {error:17.1f} {error_of_track:6.1f}"
        )
        assert other <= 0.5 * one, path.stem
        assert error_of_track <= error, path.stem


def test_jitter_halves_and_the_error_does_not_grow(
    shared_dir: Path, open_smpl: Smpl, open_skel: Skel, skelify: Skelify
) -> None:
    paths = [shared_dir / "data" / "mocap" / f"{name}.npz" for name in QUICK]
    check_clips(paths, open_smpl, open_skel, skelify, frames=40)


@pytest.mark.slow
def test_jitter_halves_on_all_clips(shared_dir: Path, open_smpl: Smpl, open_skel: Skel, skelify: Skelify) -> None:
    check_clips(sorted((shared_dir / "data" / "mocap").glob("*.npz")), open_smpl, open_skel, skelify, frames=10**6)


def test_shape_is_shared_and_limits_hold(open_skel: Skel, skelify: Skelify, track: Track) -> None:
    found = together(skelify, track, track.frames / FPS)
    assert (found.betas == found.betas[0]).all()
    assert torch.equal(inside_limits(found.q), found.q)
    assert torch.isfinite(found.q_std).all()
    single = skelify.fit(track.keypoints, *track.start)
    errors = [(f.betas - track.betas).norm(dim=1).mean() for f in (found, single)]
    assert errors[0] <= errors[1]


def test_found_is_a_minimum(skelify: Skelify, track: Track) -> None:
    """Of the stated cost, written down a second time: no small step in any direction lowers it noticeably."""
    config = TrackConfig(reestimates=0, relative_tolerance=1e-9, max_iterations=60)
    first = skelify.fit(track.keypoints, *track.start)
    never = torch.zeros(len(first.q), dtype=torch.bool)
    held = first.anchor_betas + 0.1 * torch.randn(first.betas.shape, generator=torch.Generator().manual_seed(3))
    first = first._replace(anchor_betas=held)
    found = TrackFit(skelify, config).fit(track.keypoints, track.frames / FPS, first)
    problem = skelify.problem(track.keypoints, first.q, first.betas, first.cam_t, Anchor(first.anchor_q, never, held))
    shared = problem.terms.precision[0, 0, 46:56]
    joint, camera = (std / FPS**2 for std in (config.joint_acceleration_std, config.camera_acceleration_std))

    def cost(q: Tensor, betas: Tensor, cam: Tensor) -> float:
        x = torch.cat([q, betas, cam], 1)
        data = skelify.linearise(x, problem.terms, skelify.config.kernel_scale).cost.sum()
        away = betas - held
        data = data - (1 - 1 / len(q)) * (away.square() * shared).sum()  # counts once for the track
        spin = skelify.orientation.between(q[1:], q[:-1])
        turn = (spin[1:] - spin[:-1]) / joint
        bend = (q[2:] - 2 * q[1:-1] + q[:-2])[:, 3:] / joint
        drift = (cam[2:] - 2 * cam[1:-1] + cam[:-2]) / camera
        return float(data + sum(part.square().sum() for part in (turn, bend, drift)))

    cam = torch.cat([found.cam_t[:, :2], found.cam_t[:, 2:].log()], 1)
    here = cost(found.q, found.betas, cam)
    generator = torch.Generator().manual_seed(2)
    for size in (1e-2, 1e-3):
        for _ in range(10):
            step = size * torch.randn(found.q.shape, generator=generator, dtype=torch.float64)
            inside = inside_limits(found.q + step)
            assert cost(inside, found.betas, cam) > here * (1 - 1e-6)
            shift = size * torch.randn(1, 10, generator=generator, dtype=torch.float64)
            assert cost(found.q, found.betas + shift, cam) > here * (1 - 1e-6)


def test_evaluation_is_that_of_the_torch_form(skelify: Skelify, track: Track) -> None:
    problem = skelify.problem(track.keypoints, *track.start)
    ours = skelify.evaluate(problem.start, problem.terms)
    torchs = skelify.linearise(problem.start, problem.terms, skelify.config.kernel_scale)
    for name in ("cost", "gradient", "normal"):
        torch.testing.assert_close(getattr(ours, name), getattr(torchs, name), rtol=1e-8, atol=1e-6)


def test_frames_far_apart_do_not_bind(skelify: Skelify, track: Track) -> None:
    """With huge gaps the smoothness vanishes: only the shape is shared."""
    exact = TrackConfig(relative_tolerance=1e-9, max_iterations=60, reestimates=0)
    loose = replace(exact, joint_acceleration_std=1e9, orientation_acceleration_std=1e9, camera_acceleration_std=1e9)
    few = SkelifyResult(*(value[:6] for value in skelify.fit(track.keypoints, *track.start)))
    apart = TrackFit(skelify, exact).fit(track.keypoints[:6], 1000.0 * torch.arange(6), few)
    free = TrackFit(skelify, loose).fit(track.keypoints[:6], torch.arange(6) / FPS, few)
    assert (apart.q - free.q).abs().max() < 1e-3


def test_a_gap_is_bridged_by_what_lies_around_it(open_skel: Skel, skelify: Skelify, track: Track) -> None:
    """Frames left out, and frames whose keypoints are all gone: variable time steps, and neighbours that fill in."""
    kept = [i for i in range(len(track.q)) if i not in (7, 8, 15)]
    blind = track.keypoints.clone()
    blind[12, :, 2] = 0
    first = SkelifyResult(*(value[kept] for value in skelify.fit(blind, *track.start)))
    found = TrackFit(skelify).fit(blind[kept], track.frames[kept] / FPS, first)
    hole = kept.index(12)
    truth = track.joints[12]

    def error(q: Tensor, betas: Tensor) -> float:
        joints = open_skel.joints(q[hole : hole + 1], betas[hole : hole + 1])[0]
        return float((joints - joints[:1] - truth).norm(dim=-1).mean())

    assert error(found.q, found.betas) < 0.5 * error(first.q, first.betas)


def test_energies_of_frames_add_up_to_what_was_minimised(skelify: Skelify, track: Track) -> None:
    """And no other label of the frames has a lower sum: neither each frame for itself, nor one that lies nearby."""
    first = skelify.fit(track.keypoints, *track.start)
    fitting = TrackFit(skelify)
    anchor = Anchor(first.anchor_q, torch.zeros(len(first.q), dtype=torch.bool), first.anchor_betas)
    whole = fitting.whole(track.keypoints, track.frames / FPS, first, anchor)
    found = whole.result
    again = fitting.fit(track.keypoints, track.frames / FPS, first)
    assert torch.equal(found.q, again.q)
    energies = fitting.energy(whole, found.q, found.betas, found.cam_t)
    assert energies.shape == (len(found.q),)
    assert (energies >= found.cost.to(energies) * (1 - 1e-9)).all(), "a frame's own part, and of the motion"
    x = torch.cat([found.q, found.betas, found.cam_t[:, :2], found.cam_t[:, 2:].log()], 1)
    spin = skelify.orientation.between(x[1:, :46], x[:-1, :46])
    moves = torch.cat([spin, (x[1:] - x[:-1])[:, [*range(3, 46), 56, 57, 58]]], 1)
    motion = whole.prior.cost(whole.prior.acceleration(moves.numpy()))
    assert energies.sum().item() == pytest.approx(found.cost.sum().item() + motion, rel=1e-6)
    alone = fitting.energy(whole, first.q, first.betas, first.cam_t)
    assert energies.sum() < alone.sum()
    generator = torch.Generator().manual_seed(5)
    for size in (1e-2, 1e-3):
        near = inside_limits(found.q + size * torch.randn(found.q.shape, generator=generator, dtype=torch.float64))
        assert energies.sum() < fitting.energy(whole, near, found.betas, found.cam_t).sum()


def test_a_prediction_moves_a_track(skelify: Skelify, track: Track) -> None:
    first = skelify.fit(track.keypoints, *track.start)
    never = torch.zeros(len(first.q), dtype=torch.bool)
    said = torch.cat([track.q, track.betas.expand(len(track.q), 10)], 1)
    errors = []
    for std in (0.05, torch.inf):
        opinion = Opinion(said, torch.full_like(said, std))
        anchor = Anchor(first.anchor_q, never, first.anchor_betas, opinion)
        found = TrackFit(skelify).whole(track.keypoints, track.frames / FPS, first, anchor).result
        errors.append((found.q - track.q)[:, 3:].abs().mean())
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_short_tracks(skelify: Skelify, track: Track, count: int) -> None:
    first = SkelifyResult(*(value[:count] for value in skelify.fit(track.keypoints, *track.start)))
    found = TrackFit(skelify).fit(track.keypoints[:count], track.frames[:count] / FPS, first)
    assert found.q.shape == (count, 46)
    assert torch.isfinite(found.q).all()


def test_times_must_ascend_and_the_objective_be_ours(open_skel: Skel, skelify: Skelify, track: Track) -> None:
    first = skelify.fit(track.keypoints, *track.start)
    for times in (torch.zeros(len(track.q)), torch.arange(3), track.frames * torch.nan):
        with shapes_unchecked(), pytest.raises(ValueError, match="ascending numbers"):
            TrackFit(skelify).fit(track.keypoints, times, first)
    published = Skelify(open_skel, SkelifyConfig(objective="hsmr"))
    with pytest.raises(ValueError, match="objective=robust"):
        TrackFit(published).fit(track.keypoints, track.frames / FPS, first)
