"""`keypoints`: keypoints with their Jacobian per person, memory, and where the time goes against the arithmetic."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.arithmetic import (
    Count,
    keypoint_counts,
    output_bytes,
    peak_gflops,
    solver_counts,
    table_bytes,
)
from benchmarks.baselines.lbfgs_skelify import full_mesh
from benchmarks.made.people import Sighted, perturbed_people
from benchmarks.memory import peak_growth_bytes
from benchmarks.report import Options, best_seconds, say, table, times
from pipeline.body import Skel, load_skel
from pipeline.body.official_export import export_official
from pipeline.fit import Skelify
from pipeline.image.keypoint_error import usable_confidence

_BATCH, _MESH_BATCH, _MEMORY_BATCH = 512, 64, 4096


def run(options: Options) -> None:
    """Print times, memory and the operation count."""
    single, double = load_skel(), load_skel(dtype=torch.float64)
    people = perturbed_people(double, 64 if options.quick else _BATCH, seed=1)
    _times(single, double, people, 8 if options.quick else _MESH_BATCH)
    _memory(double, 512 if options.quick else _MEMORY_BATCH)
    _arithmetic(double, people)


def _times(single: Skel, double: Skel, people: Sighted, mesh_batch: int) -> None:
    q, betas = people.truth.q, people.truth.betas
    mesh_q, mesh_betas = q[:mesh_batch].float(), betas[:mesh_batch].float()
    baseline = _ms(lambda: _mesh_gradient(single, mesh_q, mesh_betas), mesh_batch)
    rows = [["full mesh, autograd, ONE gradient (baseline)", str(mesh_batch), "float32", f"{baseline:.3f}", "x 1"]]
    work = {
        "ours: keypoints + full Jacobian": (double, lambda: double.keypoints_and_jacobian(q, betas)),
        "ours: keypoints + full Jacobian, ": (single, lambda: single.keypoints_and_jacobian(q.float(), betas.float())),
        "ours: keypoints only": (double, lambda: double.keypoints(q, betas)),
    }
    for name, (skel, call) in work.items():
        ms = _ms(call, len(q))
        rows.append([name.rstrip(", "), str(len(q)), str(skel.dtype)[6:], f"{ms:.3f}", times(baseline, ms)])
    theirs = _body_models_ms(mesh_q, mesh_betas)
    name = "body-models SKEL forward (no derivative)"
    rows.append(
        [
            name,
            str(mesh_batch),
            "float32",
            *((f"{theirs:.3f}", times(baseline, theirs)) if theirs else ("not available", "")),
        ]
    )
    table(["44 keypoints", "batch", "dtype", "ms/person", "against baseline"], rows)
    say("A full Jacobian by reverse-mode autograd costs 132 such gradients. Target: <= 0.15 ms/person at batch 512.")


def _ms(call: Callable[[], object], count: int) -> float:
    return 1000 * best_seconds(call, repeats=3) / count


def _mesh_gradient(skel: Skel, q: Tensor, betas: Tensor) -> None:
    q, betas = q.clone().requires_grad_(), betas.clone().requires_grad_()
    full_mesh(skel)(q, betas).square().sum().backward()


def _body_models_ms(q: Tensor, betas: Tensor) -> float | None:
    """The independent implementation of PyPI's body-models on the same body, posing the whole mesh."""
    try:
        from body_models.skel.torch import SKEL
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        export_official(Path(folder))
        model = SKEL(model_path=Path(folder) / "skel_male.pkl", gender="male")
    body, head = torch.cat([q[:, :23], q[:, 26:]], 1), q[:, 23:26]
    with torch.no_grad():
        return _ms(lambda: model.forward_vertices(body_pose=body, head_pose=head, shape=betas), len(q))


def _memory(skel: Skel, count: int) -> None:
    """A large batch, so that what is resident anyway does not count."""
    people = perturbed_people(skel, count, seed=2)
    q, betas, start, skelify = people.truth.q, people.truth.betas, people.start, Skelify(skel)
    skelify.fit(people.keypoints[:8], start.q[:8], start.betas[:8], start.cam_t[:8])
    work = {
        f"keypoints + Jacobian (the result itself {output_bytes(skel) / 1024:.0f} KB)": lambda: (
            skel.keypoints_and_jacobian(q, betas)
        ),
        "a whole SKELify fit": lambda: skelify.fit(people.keypoints, start.q, start.betas, start.cam_t),
    }
    rows = []
    for name, call in work.items():
        grown = peak_growth_bytes(call)
        rows.append([name, str(count), "unknown (no /proc)" if grown is None else f"{grown / count / 1024:.1f}"])
    table(["memory in flight, float64", "batch", "KB/person"], rows)
    say("Peak resident growth. Target: <= 60 KB/person.")


def _arithmetic(skel: Skel, people: Sighted) -> None:
    q, betas, start = people.truth.q, people.truth.betas, people.start
    skelify = Skelify(skel)
    evaluations = skelify.fit(people.keypoints, start.q, start.betas, start.cam_t).iterations.double().mean().item()
    fit_us = 1000 * _ms(lambda: skelify.fit(people.keypoints, start.q, start.betas, start.cam_t), len(q))
    loop_us = 1000 * _ms(lambda: skel.keypoints_and_jacobian(q, betas), len(q))
    usable = float((usable_confidence(people.keypoints) > 0).double().sum(1).mean())
    peak = peak_gflops(skel.dtype)
    model, solver = keypoint_counts(skel), solver_counts(skel, usable)
    total = _flops(model) + _flops(solver)
    rows = [[c.part, f"{c.flops / 1e3:.1f}", f"{c.flops / total:.0%}"] for c in (*model, *solver)]
    table(["one evaluation of one person", "kFLOP", "share"], [*rows, ["sum", f"{total / 1e3:.1f}", "100%"]])
    rest_us = fit_us / evaluations - loop_us
    table(
        ["measured", "us", "GFLOP/s", "of the measured peak", "bound us"],
        [
            _speed("keypoints + Jacobian", loop_us, _flops(model), peak),
            _speed("rest of an evaluation (normal matrix, Cholesky, step)", rest_us, _flops(solver), peak),
            _speed(f"a fit: {evaluations:.1f} evaluations", fit_us, evaluations * total, peak),
        ],
    )
    say(
        f"Peak: {peak:.0f} GFLOP/s, a 1024^3 {str(skel.dtype)[6:]} matrix product on {torch.get_num_threads()} threads."
    )
    say(
        f"Bytes: tables {table_bytes(skel) / 1024:.0f} KB, read for every person from the second-level cache; "
        f"{output_bytes(skel) / 1024:.1f} KB written by keypoints + Jacobian, which inside a fit never leave the core."
    )


def _flops(counts: list[Count]) -> float:
    return sum(count.flops for count in counts)


def _speed(name: str, us: float, flops: float, peak: float) -> list[str]:
    reached = flops / us / 1e3
    return [name, f"{us:.0f}", f"{reached:.1f}", f"{reached / peak:.0%}", f"{flops / peak / 1e3:.0f}"]
