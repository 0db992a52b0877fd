"""`convert`: time per frame of SMPL to SKEL against the published aligner, and the PVE against the exact optimum."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.baselines.conversion_optimum import ConversionObjective, Penalty
from benchmarks.baselines.lbfgs_convert import STEPS_A_STAGE, align
from benchmarks.made.smpl_frames import smpl_frames, within_knee_limit
from benchmarks.made.standin_body import conversion_bodies
from benchmarks.memory import peak_growth_bytes
from benchmarks.report import Options, best_seconds, say, seconds, table, times
from benchmarks.smplfitter_rate import smplfitter_fit
from pipeline.body import Skel, Smpl
from pipeline.fit import SmplToSkel, SmplToSkelResult
from pipeline.motions.convert_motion import MotionConverter
from pipeline.motions.smpl_motion import SmplMotion
from pipeline.numerics.error_metrics import pve_mm
from schemas.labels import POOR_FIT_MM
from schemas.skel import N_BETAS

_FRAMES, _BASELINE_FRAMES, _OPTIMUM_FRAMES = 512, 20, 24
_OTHER_START = 0.1  # rad
_HIGH_POWER = 16


def run(options: Options) -> None:
    """Print speed, the distances reached, and those of the optimum."""
    body, skel, smpl = conversion_bodies(options.shared)
    source, pose = smpl_frames(options.shared, 16 if options.quick else _FRAMES)
    say(f"{len(pose)} frames of {source}, {body}.")
    converter = SmplToSkel(smpl, skel)
    betas = pose.new_zeros(len(pose), N_BETAS)
    found = converter.fit(pose, betas)
    ms = 1000 * best_seconds(lambda: converter.fit(pose, betas), repeats=2) / len(pose)
    motion_ms, motion_pve = _as_motion(skel, smpl, pose)
    baseline_ms, baseline_pve, note = _baseline(skel, smpl, pose, 2 if options.quick else _BASELINE_FRAMES)
    table(
        ["converter", "batch", "ms/frame", "against baseline", "PVE mean mm", "PVE max mm", "flagged"],
        [
            ["SmplToSkel, frames within the knee limit", str(len(pose)), f"{ms:.2f}", times(baseline_ms, ms),
             *_distances(found, within_knee_limit(pose))],
            ["SmplToSkel, all frames", "", "", "", *_distances(found, torch.ones(len(pose), dtype=torch.bool))],
            ["MotionConverter, all frames as one motion of one shape", "", f"{motion_ms:.2f}",
             times(baseline_ms, motion_ms), *motion_pve],
            ["LBFGS aligner (baseline)", str(2 if options.quick else _BASELINE_FRAMES), f"{baseline_ms:.0f}", "x 1",
             baseline_pve, "", ""],
        ],
    )  # fmt: skip
    say(note)
    say("Target: <= 10 ms/frame on 2 cores (stretch 4); PVE mean 4.5, max 35 mm within the knee limit.")
    _say_smplfitter(pose[:8] if options.quick else pose[:: max(1, len(pose) // 128)])
    many = pose.repeat(1 if options.quick else 4, 1, 1)
    grown = peak_growth_bytes(lambda: converter.fit(many, many.new_zeros(len(many), N_BETAS)))
    held = "unknown (no /proc)" if grown is None else f"{grown / len(many) / 1024:.1f} KB/frame"
    say(f"Memory in flight, batch {len(many)}: {held}, peak resident growth. Target: <= 60.")
    _compare_with_optimum(
        skel, smpl, converter, pose[:: max(1, len(pose) // (4 if options.quick else _OPTIMUM_FRAMES))]
    )


def _as_motion(skel: Skel, smpl: Smpl, pose: Tensor) -> tuple[float, list[str]]:
    """ms a frame, and what `_distances` says: frames of several clips in a row, so neighbours are no good starts."""
    zeros = np.zeros((len(pose), 3), np.float32)
    motion = SmplMotion(
        pose=pose.float().numpy(), trans=zeros, betas=np.zeros(N_BETAS, np.float32), fps=30, gender=None
    )
    converter = MotionConverter(smpl, skel, gender="male", smpl_gender="neutral")
    found = converter.convert(motion)
    ms = 1000 * seconds(lambda: converter.convert(motion)) / len(pose)
    poor = float((found.pve_max_mm > POOR_FIT_MM).mean())
    return ms, [f"{found.pve_mean_mm.mean():.2f}", f"{found.pve_max_mm.max():.1f}", f"{poor:.1%}"]


def _say_smplfitter(pose: Tensor) -> None:
    found = smplfitter_fit(pose)
    if found is None:
        say("smplfitter (an SMPL-to-SMPL fit, for orientation): not installed here (pip install smplfitter).")
        return
    say(f"smplfitter, for orientation: {len(pose)} SMPL-to-SMPL fits, {found[0]:.2f} ms each, PVE {found[1]:.2f} mm.")


def _distances(found: SmplToSkelResult, rows: Tensor) -> list[str]:
    mean, worst = found.pve_mean_mm[rows], found.pve_max_mm[rows]
    return [f"{mean.mean():.2f}", f"{worst.max():.1f}", f"{found.poor_fit[rows].double().mean():.1%}"]


def _baseline(skel: Skel, smpl: Smpl, pose: Tensor, count: int) -> tuple[float, str, str]:
    """ms/frame, the PVE it had reached, and how they were had: one of ten steps of every stage, in float32."""
    single, single_smpl = skel.to("cpu", torch.float32), smpl.to("cpu", torch.float32)
    chosen = pose[:: max(1, len(pose) // count)][:count].float()
    betas = chosen.new_zeros(len(chosen), N_BETAS)
    done = []
    took = seconds(lambda: done.append(align(single, single_smpl, chosen, betas, steps=1)))
    with torch.no_grad():
        pve = pve_mm(single(done[0].q, betas).skin_vertices, single_smpl(chosen, betas).vertices).mean()
    note = (
        f"Baseline EXTRAPOLATED: 1 of {STEPS_A_STAGE} steps of each of the 4 stages on {len(chosen)} frames, "
        f"{done[0].evaluations} evaluations in {took:.1f} s, times {STEPS_A_STAGE}; PVE {pve:.1f} mm by then."
    )
    return 1000 * STEPS_A_STAGE * took / len(chosen), "see below", note


def _compare_with_optimum(skel: Skel, smpl: Smpl, converter: SmplToSkel, pose: Tensor) -> None:
    pose = pose[within_knee_limit(pose)]
    betas = pose.new_zeros(len(pose), N_BETAS)
    target = smpl.forward(pose, betas).vertices
    found = converter.fit_mesh(target, betas)
    x = torch.cat([found.q, found.betas, found.trans], 1)
    objective = ConversionObjective(skel, converter.config)
    best = objective.optimum(x, target, betas)
    noise = _OTHER_START * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    other = objective.optimum(x + noise, target, betas)
    lower = other.cost < best.cost
    optimum = torch.where(lower[:, None], other.x, best.x)
    ours_mm, optimum_mm = (_pve_mm(skel, at, target).mean(1) for at in (x, optimum))
    ours_cost, optimum_cost = objective.cost(x, target, betas), objective.cost(optimum, target, betas)
    ratio = ours_mm / optimum_mm
    table(
        ["over all vertices", "PVE mean mm", "objective", "worst frame"],
        [
            ["ours (patch means)", f"{ours_mm.mean():.3f}", f"{ours_cost.mean():.2f}", f"{ours_mm.max():.2f} mm"],
            ["optimum, all 6,890 vertices", f"{optimum_mm.mean():.3f}", f"{optimum_cost.mean():.2f}",
             f"{optimum_mm.max():.2f} mm"],
            ["ours over optimum", f"{ours_mm.mean() / optimum_mm.mean():.4f}",
             f"{ours_cost.mean() / optimum_cost.mean():.4f}", f"{ratio.max():.4f}"],
        ],
    )  # fmt: skip
    say(
        f"{len(pose)} frames. The optimum: the lower of two starts, our result and {_OTHER_START} rad from it "
        f"({int((other.cost < best.cost * (1 - 1e-6)).sum())} frames lower from the second); a Newton step would "
        f"win at most {best.slack.max():.0e} of the cost. Target: PVE within 3 %."
    )
    _floor(skel, converter, optimum, target, betas)


def _floor(skel: Skel, converter: SmplToSkel, start: Tensor, target: Tensor, betas: Tensor) -> None:
    """How near SKEL comes to these meshes when nothing but nearness counts."""
    high = Penalty.power(_HIGH_POWER)
    kinds: dict[str, tuple[Penalty | None, bool]] = {
        "our objective, limits": (None, False),
        "our objective, no limits, any shape": (None, True),
        "least mean distance, limits": (Penalty.distance(), False),
        "least mean distance, no limits, any shape": (Penalty.distance(), True),
        f"least d^{_HIGH_POWER}, no limits, any shape": (high, True),
    }
    rows, bound_mm = [], torch.zeros(len(start))
    for name, (penalty, free) in kinds.items():
        objective = ConversionObjective(skel, converter.config, penalty, free=free)
        x = start if name == "our objective, limits" else objective.optimum(start, target, betas).x
        if penalty is high:
            bound_mm = 1000 * high.distance_of(objective.cost(x, target, betas), _HIGH_POWER)
        distance = _pve_mm(skel, x, target)
        worst = distance.amax(1)
        rows.append(
            [name, f"{distance.mean():.2f}", f"{(distance.mean(1) <= 4.5).double().mean():.0%}", f"{worst.max():.1f}",
             f"{worst.mean():.1f}", f"{(worst <= 35).double().mean():.0%}"]
        )  # fmt: skip
    table(["optimum of", "PVE mean mm", "<= 4.5", "PVE max mm", "mean of max", "<= 35"], rows)
    say(
        f"No PVE max goes below the power mean at the least d^{_HIGH_POWER}: {bound_mm.max():.1f} mm in the worst, "
        f"above 35 mm in {(bound_mm > 35).double().mean():.0%} of the frames. (All these are local optima.)"
    )


def _pve_mm(skel: Skel, x: Tensor, target: Tensor) -> Tensor:
    return pve_mm(skel.forward(x[:, :46], x[:, 46:56]).skin_vertices, target)
