"""`track`: time per frame of fitting whole tracks, beside frame by frame and a dense solve; jitter on mocap."""

from pathlib import Path

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve

from benchmarks.made.track_clips import Track, converted, frame_rate, made_motion
from benchmarks.memory import peak_growth_bytes
from benchmarks.report import Options, best_seconds, say, seconds, table, times
from pipeline.body import Skel, load_skel, load_smpl
from pipeline.fit import Skelify, SkelifyResult
from pipeline.fit.video.banded_normal import BandedNormal
from pipeline.fit.video.motion_prior import MotionPrior
from pipeline.fit.video.track import TrackFit

_LENGTHS = (30, 300, 3000)
_DENSE_LENGTHS = (10, 30, 60)
_FPS = 30.0
_ENOUGH_FRAMES = 200  # a shorter clip is drawn again until it has so many
_UNKNOWNS, _SHARED = 49, 10


def run(options: Options) -> None:
    """Print the tables."""
    _print_speed(load_skel(dtype=torch.float64), (10, 20) if options.quick else _LENGTHS)
    _print_steps((5, 10) if options.quick else _DENSE_LENGTHS, (10,) if options.quick else _LENGTHS)
    if options.shared is None:
        say("No mocap clips (--shared): jitter on motion capture not measured.")
        return
    clips = sorted((options.shared / "data" / "mocap").glob("*.npz"))
    _print_jitter(clips[:1] if options.quick else clips)


def _print_speed(skel: Skel, lengths: tuple[int, ...]) -> None:
    rows = [[str(frames), *_speed(skel, frames)] for frames in lengths]
    columns = ["frames", "each alone ms/frame", "then as a track ms/frame", "KB/frame"]
    table([*columns, "jitter", "as a track", "MPJPE mm", "as a track mm"], rows)
    say("Run with OPENBLAS_NUM_THREADS=1, as Ray has it in actors: more threads spin on matrices this small.")
    say("A constant figure is a cost linear in the frames. Jitter: error of the joints' acceleration, mm/frame^2.")


def _speed(skel: Skel, frames: int) -> list[str]:
    skelify, track = Skelify(skel), Track(skel, *made_motion(frames, seed=frames))
    fit, found = TrackFit(skelify), list[SkelifyResult]()
    first = skelify.fit(track.keypoints, *track.start)

    def together() -> None:
        found.append(fit.fit(track.keypoints, track.frames / _FPS, first))

    alone_s = best_seconds(lambda: skelify.fit(track.keypoints, *track.start), repeats=2)
    together()
    together_s, growth = seconds(together), peak_growth_bytes(together)
    kilobytes = "" if growth is None else f"{growth / frames / 1024:.0f}"
    measures = track.jitter_mm, track.mpjpe_mm
    quality = [f"{measure(skel, who):.1f}" for measure in measures for who in (first, found[0])]
    return [f"{1000 * alone_s / frames:.2f}", f"{1000 * together_s / frames:.2f}", kilobytes, *quality]


def _print_steps(dense_lengths: tuple[int, ...], lengths: tuple[int, ...]) -> None:
    rows = [[str(frames), *_steps(frames, frames in dense_lengths)] for frames in sorted({*dense_lengths, *lengths})]
    table(["frames", "banded step ms/frame", "dense Cholesky (baseline) ms/frame", "faster"], rows)
    say("One step of the solver. The dense baseline grows with the square of the frames, per frame.")


def _steps(frames: int, dense: bool) -> list[str]:
    """One solve of the normal equations: banded, and dense where that is bearable."""
    banded, gradient, shared = _system(frames)
    ours = best_seconds(lambda: banded.step(gradient, shared, 1e-4), repeats=2)
    if not dense:
        return [f"{1000 * ours / frames:.3f}", f"not run: {((_UNKNOWNS * frames) ** 2) * 8 / 2**30:.1f} GiB", ""]
    matrix, right = _dense(banded), np.concatenate([gradient.reshape(-1), shared])
    baseline = best_seconds(lambda: cho_solve(cho_factor(matrix), right), repeats=2)
    return [f"{1000 * ours / frames:.3f}", f"{1000 * baseline / frames:.3f}", times(baseline, ours)]


def _system(frames: int) -> tuple[BandedNormal, np.ndarray, np.ndarray]:
    """Normal equations of the true size and structure with made-up numbers."""
    rng = np.random.default_rng(frames)
    jacobian = rng.normal(size=(88, _UNKNOWNS + _SHARED))
    normal = jacobian.T @ jacobian
    blocks = np.broadcast_to(normal[:_UNKNOWNS, :_UNKNOWNS], (frames, _UNKNOWNS, _UNKNOWNS)).copy()
    border = np.broadcast_to(normal[:_UNKNOWNS, _UNKNOWNS:], (frames, _UNKNOWNS, _SHARED)).copy()
    prior = MotionPrior.guessed(np.arange(frames) / _FPS, np.full(_UNKNOWNS, 72.0))
    free = np.ones((frames, _UNKNOWNS), dtype=bool)
    shared = frames * normal[_UNKNOWNS:, _UNKNOWNS:]
    banded = BandedNormal.assembled(blocks, border, shared, prior.bands(), free)
    return banded, rng.normal(size=(frames, _UNKNOWNS)), rng.normal(size=_SHARED)


def _dense(banded: BandedNormal) -> np.ndarray:
    size = banded.band.shape[1]
    matrix = np.zeros((size + _SHARED,) * 2)
    for k, diagonal in enumerate(banded.band):
        rows = np.arange(size - k)
        matrix[rows + k, rows] = matrix[rows, rows + k] = diagonal[: size - k]
    matrix[:size, size:], matrix[size:, :size], matrix[size:, size:] = banded.border, banded.border.T, banded.shared
    return matrix + 1e-4 * np.diag(np.diag(matrix))


def _print_jitter(clips: list[Path]) -> None:
    skel, smpl = load_skel(dtype=torch.float64), load_smpl(dtype=torch.float64)
    skelify, rows = Skelify(skel), []
    for path in clips:
        fps = frame_rate(path)
        q, betas = converted(path, smpl, skel, 10**6)
        draws = -(-_ENOUGH_FRAMES // len(q))
        figures = np.mean([_figures(skel, skelify, Track(skel, q, betas, seed + 1), fps) for seed in range(draws)], 0)
        jitter, jitter_track, error, error_track = figures
        quality = [f"{x:.1f}" for x in (jitter, jitter_track)] + [f"{jitter_track / jitter:.2f}"]
        rows.append([path.stem, f"{fps:.0f}", str(len(q)), str(draws), *quality, f"{error:.1f}", f"{error_track:.1f}"])
    columns = ["clip", "fps", "frames", "draws", "jitter", "as a track", "ratio", "MPJPE mm", "as a track mm"]
    table(columns, rows)
    say("Open body; truth = the converted q, 1.5 px noise, start 0.15 rad off. Target: ratio <= 0.5, MPJPE not higher.")


def _figures(skel: Skel, skelify: Skelify, track: Track, fps: float) -> list[float]:
    first = skelify.fit(track.keypoints, *track.start)
    found = TrackFit(skelify).fit(track.keypoints, track.frames / fps, first)
    return [measure(skel, who) for measure in (track.jitter_mm, track.mpjpe_mm) for who in (first, found)]
