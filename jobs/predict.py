"""Predict SKEL or SMPL bodies in photos: a Parquet table, and overlays, meshes and OpenSim motions when asked for."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.command_line import Command, CommandError, Errors, add_keys, add_overrides, command_parser

if TYPE_CHECKING:
    from trainer.inference.driver import InferenceResult

EPILOG = """examples:
  python jobs/predict.py --images photos/ --boxes boxes.csv --checkpoint best.safetensors --overlays --meshes glb
  python jobs/predict.py --images frames/ --fps 50 --checkpoint hsmr.ckpt --mot body.source=/data/smpl_models
  python jobs/predict.py --images 'DIR/{000000..000002}.tar' --checkpoint s3://bucket/best.safetensors --refine
  python jobs/predict.py --images photos/ --checkpoint hmr2.ckpt --overlays             # HMR2.0: SMPL bodies
  python jobs/predict.py --images photos/ --checkpoint hmr2.ckpt --convert --mot        # the two-stage method: SKEL
  python jobs/predict.py --images 'DIR/{000000..000002}.tar' --labels 2 --mot storage.root=/data/labels

--images is a folder of .jpg and .png files, a folder of shards, or shards by a pattern, local or s3://. A folder needs
--boxes (CSV or JSON: image,x0,y0,x1,y1 in px) wherever an image shows more than one person who fills it.
docs/predict.md describes the files, their units and axes. `python jobs/predict.py --keys` lists every override.

exit codes: 0 somebody was predicted; 1 nobody was, or the run failed, and the message says why; 2 an option, an
override or an input file is wrong; 130 interrupted.
"""
SHOWN_REJECTIONS = 10


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(
        name="predict",
        parser=_parser,
        work=_predict,
        failed=_failures,
        refused=_refusals,
        interrupted="Interrupted. Start it again: it begins anew, in the same folder.",
    ).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("predict", __doc__, EPILOG)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", metavar="DIR_or_SHARDS", help="what to predict")
    add_keys(what, _settings)
    poses = parser.add_mutually_exclusive_group()
    poses.add_argument(
        "--checkpoint", metavar="FILE", help="the network: .safetensors of ours, or a .ckpt of HSMR or HMR2.0, or s3://"
    )
    poses.add_argument("--labels", type=int, metavar="ROUND", help="labels of a round instead of predictions (shards)")
    parser.add_argument("--output", type=Path, default=Path("predictions"), metavar="DIR", help="default: predictions")
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE", help="tight person boxes of a folder of images, CSV or JSON"
    )
    parser.add_argument("--dataset", metavar="NAME", help="name of the shards' data set; default: their folder's")
    parser.add_argument(
        "--fps", type=float, metavar="FPS",
        help="a folder's images are the frames of one video; for tracks in shards that name no rate (default 30)",
    )  # fmt: skip
    parser.add_argument(
        "--convert",
        action="store_true",
        help="convert the SMPL bodies of an HMR2.0 network to SKEL: the two-stage method",
    )
    parser.add_argument("--refine", action="store_true", help="SKELify from the prediction where there are keypoints")
    parser.add_argument("--overlays", action="store_true", help="the bodies drawn over each photo")
    parser.add_argument("--hide-photos", action="store_true", help="grey in place of the photos, to show others")
    parser.add_argument("--meshes", choices=("obj", "glb"), help="a mesh per person: m, y up")
    parser.add_argument("--skeleton", action="store_true", help="bones in the meshes too")
    parser.add_argument("--mot", action="store_true", help="OpenSim motions: BSM's coordinate names, degrees")
    parser.add_argument(
        "--angles", choices=("skel", "opensim"), default="skel",
        help="of the motions; skel (default): the numbers of q; opensim: re-expressed for joints that compose three "
        "angles as OpenSim does, see docs/predict.md",
    )  # fmt: skip
    add_overrides(parser, "device=cuda")
    return parser


def _settings() -> tuple[type, ...]:
    from trainer.inference.inference_config import InferenceConfig

    return (InferenceConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from trainer.checkpoint import CheckpointError

    return BodyFileError, CheckpointError, LabelStoreError, OSError


def _refusals() -> Errors:
    from trainer.inference.boxes import BoxesError
    from trainer.inference.photo_source import InputError

    return BoxesError, InputError


def _predict(options: argparse.Namespace) -> int:
    from jobs.environment import code_revision
    from pipeline.runtime.config import load_config
    from trainer.inference.driver import run_inference
    from trainer.inference.inference_config import InferenceConfig, InferenceRequest

    given = {name: value for name, value in vars(options).items() if name not in {"keys", "overrides"}}
    result = run_inference(
        InferenceRequest(**given),
        load_config(InferenceConfig, options.overrides),
        code_revision=code_revision(),
        tell=lambda text: print(text, flush=True),
    )
    return _report(result, options.output)


def _report(result: "InferenceResult", output: Path) -> int:
    for item in result.rejections[:SHOWN_REJECTIONS]:
        who = " ".join(
            str(part) for part in (item.dataset, item.shard, item.key, item.person) if part not in ("", None)
        )
        print(f"  rejected: {who}: {item.reason}: {item.detail}")
    if len(result.rejections) > SHOWN_REJECTIONS:
        print(f"  ... and {len(result.rejections) - SHOWN_REJECTIONS} more in {output}/rejections.parquet")
    if result.decisions:
        print("refinement: " + ", ".join(f"{name} {count}" for name, count in sorted(result.decisions.items())))
    figures = f"{result.people} people in {result.photos} photos, {len(result.rejections)} rejections"
    if not result.people:
        raise CommandError(f"{figures}: nobody was predicted; the reasons are in {output}/rejections.parquet")
    motions = f", {result.motions} motions" if result.motions else ""
    print(f"{figures}{motions}: {output}/predictions.parquet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
