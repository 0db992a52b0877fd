"""`gpu`: the same work on a CUDA device at batch 512 and 16,384."""

from collections.abc import Callable

import torch

from benchmarks.made.people import Sighted, perturbed_people
from benchmarks.made.smpl_frames import smpl_frames
from benchmarks.made.standin_body import conversion_bodies
from benchmarks.report import Options, best_seconds, say, table
from pipeline.body import Skel, load_skel
from pipeline.fit import Skelify, SmplToSkel
from schemas.skel import N_BETAS

_BATCHES = (512, 16384)


def run(options: Options) -> None:
    """Print people or frames per second, or plainly that there is no GPU."""
    if not torch.cuda.is_available():
        say("No GPU on this machine: GPU targets not measured.")
        return
    say(torch.cuda.get_device_name())
    rows = []
    for batch in (64,) if options.quick else _BATCHES:
        for name, work in _work(options, batch).items():
            rate = batch / best_seconds(work, repeats=3)
            rows.append([name, f"{batch:,}", f"{rate:,.0f}", f"{torch.cuda.max_memory_allocated() / batch / 1024:.0f}"])
            torch.cuda.reset_peak_memory_stats()
    table(["float32", "batch", "per second", "KB each at the peak"], rows)
    say("Targets: skelify 100,000/s at 16,384 (stretch 400,000), 20,000/s at 512; convert 20,000 frames/s.")


def _work(options: Options, batch: int) -> dict[str, Callable[[], object]]:
    skel = load_skel()
    people = perturbed_people(skel, batch, seed=1)
    _, source, smpl = conversion_bodies(options.shared)
    return {
        "skelify": _fit(skel.to("cuda"), people),
        "keypoints + Jacobian": _jacobian(skel.to("cuda"), people),
        "convert": _convert(SmplToSkel(smpl, source.to("cuda", torch.float32)), options, batch),
    }


def _fit(skel: Skel, people: Sighted) -> Callable[[], object]:
    skelify, keypoints, start = Skelify(skel), people.keypoints.cuda(), people.start.to("cuda")
    return lambda: skelify.fit(keypoints, start.q, start.betas, start.cam_t)


def _jacobian(skel: Skel, people: Sighted) -> Callable[[], object]:
    truth = people.truth.to("cuda")
    return lambda: skel.keypoints_and_jacobian(truth.q, truth.betas)


def _convert(converter: SmplToSkel, options: Options, batch: int) -> Callable[[], object]:
    """The frames there are, repeated to the batch, in parts that leave room for their meshes."""
    _, pose = smpl_frames(options.shared, batch)
    pose = pose.repeat(-(-batch // len(pose)), 1, 1)[:batch].cuda()
    parts = pose.split(2048)
    return lambda: [converter.fit(part, part.new_zeros(len(part), N_BETAS)) for part in parts]
