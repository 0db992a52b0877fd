"""Predict SKEL bodies in photos: a Parquet table, and overlays, meshes and OpenSim motions when asked for."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.inference.driver import InferenceResult

EPILOG = """examples:
  python jobs/predict.py --images photos/ --boxes boxes.csv --checkpoint best.safetensors --overlays --meshes glb
  python jobs/predict.py --images frames/ --fps 50 --checkpoint hsmr.ckpt --mot body.source=/data/smpl_models
  python jobs/predict.py --images 'DIR/{000000..000002}.tar' --checkpoint s3://bucket/best.safetensors --refine
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
    options = _parser().parse_args(arguments)
    # Imported here, so that --help answers at once.
    from pipeline.runtime.config import ConfigError, load_config, valid_keys
    from trainer.inference.boxes import BoxesError
    from trainer.inference.inference_config import InferenceConfig
    from trainer.inference.photo_source import InputError

    if options.keys:
        print("\n".join(valid_keys(InferenceConfig)))
        return 0
    try:
        return _predict(options, load_config(InferenceConfig, options.overrides))
    except (ConfigError, InputError, BoxesError) as error:
        return _fail(2, error)
    except KeyboardInterrupt:
        return _fail(130, "Interrupted. Start it again: it begins anew, in the same folder.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", metavar="DIR_or_SHARDS", help="what to predict")
    what.add_argument("--keys", action="store_true", help="list the keys of all overrides and stop")
    poses = parser.add_mutually_exclusive_group()
    poses.add_argument(
        "--checkpoint", metavar="FILE", help="the network: .safetensors of ours or an HSMR .ckpt, or s3://"
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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override, such as device=cuda")
    return parser


def _predict(options: argparse.Namespace, config) -> int:
    from jobs.environment import code_revision
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from trainer.checkpoint import CheckpointError
    from trainer.inference.driver import run_inference
    from trainer.inference.inference_config import InferenceRequest

    given = {name: value for name, value in vars(options).items() if name not in {"keys", "overrides"}}
    try:
        result = run_inference(
            InferenceRequest(**given),
            config,
            code_revision=code_revision(),
            tell=lambda text: print(text, flush=True),
        )
    except (BodyFileError, CheckpointError, LabelStoreError, OSError) as error:
        return _fail(1, error)
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
        return _fail(1, f"{figures}: nobody was predicted; the reasons are in {output}/rejections.parquet")
    motions = f", {result.motions} motions" if result.motions else ""
    print(f"{figures}{motions}: {output}/predictions.parquet")
    return 0


def _fail(code: int, message: object) -> int:
    print(f"predict: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
