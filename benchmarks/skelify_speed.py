"""`skelify`: time per person of the refinement, against the published LBFGS refiner."""

import torch

from benchmarks.baselines.lbfgs_skelify import OUTER_STEPS, LbfgsFit, full_mesh, refine
from benchmarks.made.people import Bodies, Sighted, errors, perturbed_people
from benchmarks.report import Options, best_seconds, say, seconds, table, times
from pipeline.body import Skel, load_skel
from pipeline.fit import Skelify, SkelifyConfig

_PEOPLE, _BATCH_OF_BASELINE, _MEASURED_STEPS = 512, 64, 1


def run(options: Options) -> None:
    """Print the table."""
    people_count, baseline_count = (32, 8) if options.quick else (_PEOPLE, _BATCH_OF_BASELINE)
    skel = load_skel()
    people = perturbed_people(skel, people_count, seed=1)
    few = people.rows(slice(baseline_count))
    full_ms, collapsed_ms, collapsed, note = _lbfgs(skel, few)
    rows = [["start", str(people_count), "", "", *_quality(skel, people.start, people.truth)]]
    configs = {
        "Skelify robust": SkelifyConfig(),
        "Skelify robust, noise=uniform": SkelifyConfig(noise="uniform", kernel_scale=0.025),  # what these points have
        "Skelify hsmr, one start": SkelifyConfig(objective="hsmr", restart_above=torch.inf),
        "Skelify hsmr": SkelifyConfig(objective="hsmr"),
    }
    for name, config in configs.items():
        ms, found = _ours(skel, people, config)
        rows.append([name, str(people_count), f"{ms:.2f}", times(full_ms, ms), *_quality(skel, found, people.truth)])
    rows.append(["LBFGS, full mesh (baseline)", str(baseline_count), f"{full_ms:.0f}", "x 1", "as below", "", ""])
    name, quality = "LBFGS, collapsed keypoints", _quality(skel, collapsed, few.truth)
    rows.append([name, str(baseline_count), f"{collapsed_ms:.0f}", times(full_ms, collapsed_ms), *quality])
    table(["solver", "batch", "ms/person", "against baseline", "MPJPE mm", "PA-MPJPE mm", "kp px"], rows)
    say(note)
    say("Target: Skelify <= 3.5 ms/person (stretch 1.5) on 2 cores at batch 512.")


def _ours(skel: Skel, people: Sighted, config: SkelifyConfig) -> tuple[float, Bodies]:
    skelify, start = Skelify(skel, config), people.start
    found = skelify.fit(people.keypoints, start.q, start.betas, start.cam_t)
    took = best_seconds(lambda: skelify.fit(people.keypoints, start.q, start.betas, start.cam_t), repeats=3)
    return 1000 * took / len(start.q), Bodies(found.q, found.betas, found.cam_t)


def _lbfgs(skel: Skel, few: Sighted) -> tuple[float, float, Bodies, str]:
    """ms/person of LBFGS (through the full mesh, collapsed), the latter's result, and how they were had.

    The full mesh would take two minutes a batch: its time per evaluation is measured over a few steps and multiplied by
    the evaluations that the whole fit needs, counted in the collapsed run, which minimises the same function.
    """
    count, mesh = len(few.start.q), full_mesh(skel)
    collapsed: list[LbfgsFit] = []
    part: list[LbfgsFit] = []
    collapsed_s = seconds(lambda: collapsed.append(refine(skel.keypoints, few.keypoints, few.start)))
    with torch.no_grad():
        mesh(few.start.q, few.start.betas)
    part_s = seconds(lambda: part.append(refine(mesh, few.keypoints, few.start, outer_steps=_MEASURED_STEPS)))
    needed, measured = collapsed[-1].evaluations, part[-1].evaluations
    full_s = part_s / measured * needed
    note = (
        f"Baseline EXTRAPOLATED: {_MEASURED_STEPS} of {OUTER_STEPS} outer steps through the full mesh = {measured} "
        f"evaluations in {part_s:.1f} s; a whole fit of these {count} takes {needed} (counted on collapsed keypoints)."
    )
    return 1000 * full_s / count, 1000 * collapsed_s / count, collapsed[-1].bodies, note


def _quality(skel: Skel, found: Bodies, truth: Bodies) -> list[str]:
    error = errors(skel, found, truth)
    return [f"{error['mpjpe']:.1f}", f"{error['pa_mpjpe']:.1f}", f"{error['kp_px']:.2f}"]
