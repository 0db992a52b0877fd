"""Run benchmarks: python -m benchmarks [NAME ...]."""

import argparse
import os
import sys
import time
from pathlib import Path

import torch

from pipeline.runtime.ray_environment import prepare_ray

prepare_ray(os.environ)  # before a benchmark imports Ray

from benchmarks import (  # noqa: E402
    browse,
    calibration,
    camera_token,
    conversion,
    gpu,
    keypoints,
    label_store,
    loop_gain,
    memorising,
    network,
    objective,
    pose_prior,
    real_truth,
    saving,
    skelify_speed,
    track,
    training_data,
    truth,
    truth_loop,
)
from benchmarks.report import Options, machine  # noqa: E402

BENCHMARKS = {
    "keypoints": (keypoints.run, "keypoints + Jacobian per person, memory, operation count against the measured peak"),
    "skelify": (skelify_speed.run, "refinement per person against the published LBFGS through the full mesh"),
    "objective": (objective.run, "the published objective at our minimum against LBFGS, person by person"),
    "truth": (truth.run, "error to the truth: robust against hsmr objective, and the ablation"),
    "loop-gain": (loop_gain.run, "labels' error to the truth by round, with networks of stated quality"),
    "calibration": (calibration.run, "do the labels' standard deviations tell the truth, by group of angles"),
    "truth-loop": (
        truth_loop.run,
        "labels and trained networks against the truth by round and arm; hours, only if named",
    ),
    "prior": (pose_prior.run, "energy of the pose prior by kind of pose, and what its modes cover"),
    "real-truth": (real_truth.run, "fits of real footage against its measured 3D points, under several cameras"),
    "track": (track.run, "whole tracks against frame by frame: time per frame and length, dense solve, jitter"),
    "convert": (conversion.run, "SMPL to SKEL per frame against the published aligner; PVE against the exact optimum"),
    "network": (network.run, "training step and inference, and the share of the machine's arithmetic they use"),
    "camera": (camera_token.run, "small networks on made-up people, told each person's camera or not"),
    "memorising": (memorising.run, "a network on people it was trained on against people of a fold it never met"),
    "saving": (saving.run, "what the steps of a training wait for a saved state"),
    "data": (training_data.run, "crops a second and core for training, and the join, against a plain webdataset loop"),
    "store": (label_store.run, "planning, verifying, auditing, publishing, reading and querying many label files"),
    "store-s3": (label_store.run_s3, "the same on a real S3 server"),
    "browse": (browse.run, "the label browser: pages over millions of people, charts, pictures a second"),
    "gpu": (gpu.run, "skelify, convert and keypoints on a CUDA device, where there is one"),
}
ONLY_IF_NAMED = ("truth-loop",)
_REPOSITORY = Path(__file__).parents[1]


def main() -> int:
    """Run what was asked for, one after the other; 1 when one of them failed."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    shared = arguments.shared if arguments.shared.is_dir() else None
    options = Options(
        quick=arguments.quick,
        files=arguments.files,
        rows_per_file=arguments.rows_per_file,
        shared=shared,
        data=arguments.data,
        json=arguments.json,
        pictures=arguments.pictures,
        checkpoint=arguments.checkpoint,
        plot=arguments.plot,
        people=arguments.people,
        seed=arguments.seed,
        rounds=arguments.rounds,
        predictor=tuple(arguments.predictor),
        betas_noise=arguments.betas_noise,
        seeds=tuple(arguments.seeds),
        steps=arguments.steps,
        arms=tuple(arguments.arms),
        variant=arguments.variant,
        train=tuple(arguments.train),
        work=arguments.work and arguments.work.absolute(),
    )
    print(machine())
    if options.quick:
        print("--quick: too few people for the figures to mean anything.")
    failed = []
    for name in arguments.names or [name for name in BENCHMARKS if name not in ONLY_IF_NAMED]:
        if not _run(name, options):
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)} (see above)", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, options: Options) -> bool:
    """One that fails must not cost the tables of the others."""
    work, summary = BENCHMARKS[name]
    print(f"\n== {name}: {summary}\n", flush=True)
    start = time.perf_counter()
    try:
        work(options)
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return False
    print(f"  [{name} took {time.perf_counter() - start:.0f} s, load now {os.getloadavg()[0]:.1f}]", flush=True)
    return True


def _known(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"no benchmark is called {name!r}; there are {', '.join(BENCHMARKS)}")
    return name


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10} {summary}" for name, (_, summary) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time and judge the hot paths; each figure beside a named baseline of the same run.",
        epilog=f"benchmarks:\n{listed}\n\nexamples:\n  python -m benchmarks\n  python -m benchmarks skelify truth\n"
        "  python -m benchmarks store --files 4500 --rows-per-file 2000\n  python -m benchmarks --quick keypoints",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help="all when none is given")
    parser.add_argument("--quick", action="store_true", help="a few people each, to see that it works")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--files", type=int, default=500, help="label files of `store`, a round (default 500)")
    parser.add_argument("--rows-per-file", type=int, default=200, help="rows of each of them (default 200)")
    parser.add_argument("--data", type=Path, help="folder of footage with a truth.npz, for `real-truth`")
    parser.add_argument(
        "--json",
        type=Path,
        help="file for the rows of `browse`, `real-truth`, `loop-gain`, `calibration` or `truth-loop`",
    )
    parser.add_argument("--plot", type=Path, help="PNG for the curves of `calibration`, or folder for `truth-loop`'s")
    parser.add_argument(
        "--people", type=int, help="of `loop-gain`, `calibration` (240), `truth-loop` (4000), `browse` (9000000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of people and predictors of the first two (default 0)")
    parser.add_argument("--rounds", type=int, help="of the first two (2) or `truth-loop` (4), after round 0")
    parser.add_argument(
        "--predictor", action="append", default=[], metavar="KIND[:s]",
        help="a network of theirs, off by s rad; may be repeated (default: all kinds; `calibration`: three)",
    )  # fmt: skip
    parser.add_argument("--betas-noise", type=float, default=0.0, help="how far off their betas are (default 0)")
    _add_truth_loop(parser)
    parser.add_argument("--pictures", type=Path, help="JPEG to which `real-truth` draws each view's label in all views")
    parser.add_argument("--checkpoint", help="a checkpoint, for `real-truth` to start from its predictions too")
    parser.add_argument("--shared", type=Path, default=_REPOSITORY.parent / "shared", help="golden/ and data/ folder")
    return parser


def _add_truth_loop(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("truth-loop")
    group.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of people and trainings (default 0 1 2)"
    )
    group.add_argument("--steps", type=int, default=1000, help="of each training (default 1000)")
    group.add_argument("--arms", nargs="+", default=[], metavar="ARM", help="loops to compare (default: all)")
    group.add_argument("--variant", default="mini", help="the network, as in network.variant (default mini)")
    group.add_argument(
        "--train", nargs="+", default=[], metavar="KEY=VALUE", help="settings of every training, as of train_round.py"
    )
    group.add_argument(
        "--work", type=Path, help="folder for people, labels and networks (default: in the cache folder)"
    )


if __name__ == "__main__":
    sys.exit(main())
