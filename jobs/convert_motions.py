"""Convert recorded SMPL motions (AMASS) to SKEL: one shape a motion, angles by name, ready for OpenSim and training."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from jobs.command_line import Command, CommandError, Errors, command_parser

if TYPE_CHECKING:
    from pipeline.motions.driver import Conversion

EPILOG = """examples:
  python jobs/convert_motions.py --motions AMASS/CMU --output skel_motions --fps 30
  python jobs/convert_motions.py --motions walk.npz --output out --formats npz mot parquet
  python jobs/convert_motions.py --motions 's3://bucket/amass/' --output s3://bucket/skel --body /data/smpl_models

Reads .npz and .pkl of 156 (SMPL-H, as AMASS) or 72 (SMPL) numbers a frame, with trans, betas, gender and
mocap_framerate. Started again it converts what is new or has changed, with the same settings. The npz files feed
training's adversarial prior: prior.mocap=[out/walk.npz]. docs/motions.md describes files and axes.

exit codes: 0 every file was converted; 1 some or all were rejected, or the run failed; 2 an option is wrong;
130 interrupted.
"""
SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(
        name="convert_motions",
        parser=_parser,
        work=_convert,
        failed=_failures,
        refused=_refusals,
        interrupted="Interrupted. Start it again: finished motions are kept.",
    ).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("convert_motions", __doc__, EPILOG)
    parser.add_argument(
        "--motions", nargs="+", required=True, metavar="FILE_or_DIR", help="files, folders or patterns, local or s3://"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the converted motions, or s3://")
    parser.add_argument(
        "--formats", nargs="+", choices=("npz", "pkl", "parquet", "mot"), default=["npz"], help="default: npz"
    )
    parser.add_argument(
        "--gender", choices=("auto", "male", "female"), default="auto",
        help="SKEL body; auto (default): the one that the file names, male for neutral",
    )  # fmt: skip
    parser.add_argument(
        "--body", default="open", metavar="DIR", help="folder of the official files; default: open body"
    )
    parser.add_argument("--fps", type=float, default=0.0, help="keep so many frames a second, about; default: all")
    parser.add_argument("--file-fps", type=float, default=None, metavar="FPS", help="rate of files that name none")
    parser.add_argument(
        "--up", choices=("y", "z"), default="z", help="axis that points up, for .mot; AMASS: z (default)"
    )
    parser.add_argument(
        "--angles", choices=("skel", "opensim"), default="skel", help="of .mot, as in predict.py; default: skel"
    )
    parser.add_argument("--actors", type=int, default=0, help="processes at once; default: one a core")
    parser.add_argument(
        "--ray-address", default=None, metavar="ADDRESS", help="a Ray cluster; default: RAY_ADDRESS, or this machine"
    )
    return parser


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.rounds.pool import ActorStartError

    return BodyFileError, ActorStartError, OSError


def _refusals() -> Errors:
    from pipeline.motions.errors import MotionFileError

    return (MotionFileError, ValueError)


def _convert(options: argparse.Namespace) -> int:
    from pipeline.runtime.ray_environment import prepare_ray

    prepare_ray(os.environ)

    from jobs.environment import ray_address
    from pipeline.motions.driver import convert_motions
    from pipeline.motions.motion_actor import ConvertConfig
    from pipeline.motions.motion_list import list_motions
    from pipeline.runtime.config import ConfigError

    if options.overrides:
        raise ConfigError(f"{options.overrides[0]!r}: this command has options only, see --help.")
    config = ConvertConfig(
        body=options.body,
        gender=options.gender,
        fps=options.fps,
        file_fps=options.file_fps,
        formats=tuple(dict.fromkeys(options.formats)),
        up=options.up,
        angles=options.angles,
    )
    tasks = list_motions(options.motions)
    address = options.ray_address or ray_address()
    done = convert_motions(tasks, options.output, config, actors=options.actors, ray_address=address)
    return _report(done, options.output)


def _report(done: "Conversion", output: str) -> int:
    from rich.console import Console
    from rich.table import Table

    good = [record for record in done.records if not record.rejected]
    table = Table("motion", "frames", "fps", "SKEL", "PVE mean mm", "PVE max mm", "poor frames")
    for record in good[:SHOWN]:
        table.add_row(
            record.name, str(record.frames), f"{record.fps:g}", record.gender, f"{record.pve_mean_mm:.1f}",
            f"{record.pve_max_mm:.1f}", str(record.poor_frames),
        )  # fmt: skip
    if good:
        Console(width=None if sys.stdout.isatty() else 110).print(table)
    if len(good) > SHOWN:
        print(f"... and {len(good) - SHOWN} more in {output}/conversions.json")
    for record in done.rejected[:SHOWN]:
        print(f"  rejected: {record.rejected}")
    print(
        f"{len(good)} motions, {done.frames} frames in {done.seconds:.1f} s, {len(done.rejected)} rejected: "
        f"{output}/conversions.json"
    )
    if done.rejected:
        raise CommandError(f"{len(done.rejected)} of {len(done.records)} files were rejected, for the reasons above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
