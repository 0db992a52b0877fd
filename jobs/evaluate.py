"""Evaluate networks on 3DPW, H36M-P2, MOYO, EMDB, COCO, LSP-Extended and PoseTrack by the published protocols."""

import argparse
import os
import sys
from pathlib import Path

from jobs.command_line import Command, CommandError, Errors, add_keys, add_overrides, command_parser

DATASETS = ("3dpw", "h36m", "moyo", "emdb", "coco", "lsp", "posetrack")
EPILOG = """examples:
  python jobs/evaluate.py --dataset 3dpw --data 3dpw_test.npz --images DATA/3DPW --checkpoint best.safetensors
  python jobs/evaluate.py --dataset moyo --data moyo_v2.npz --images DATA/moyo --checkpoint hsmr.ckpt \\
      --checkpoint hmr2.ckpt body.source=/data/smpl_models
  python jobs/evaluate.py --checkpoint best.safetensors --dataset coco --data coco_val.npz --images DATA/coco \\
      --dataset lsp --data hr-lspet_train.npz --images DATA/lsp --output tables device=cuda

Options may be repeated: the n-th --dataset has the n-th --data and --images, and each is asked of every --checkpoint,
ours or a released HSMR or HMR2.0 file. With RAY_ADDRESS set it runs on that cluster. docs/evaluation.md has the
formats, the protocols and what is written. `python jobs/evaluate.py --keys` lists every override.

exit codes: 0 the tables are written; 1 nobody could be evaluated, or the run failed, and the message says why; 2 an
option, an override or a file is wrong; 130 interrupted.
"""
SHOWN_REJECTIONS = 10


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(
        name="evaluate",
        parser=_parser,
        work=_evaluate,
        failed=_failures,
        refused=_refusals,
        interrupted="Interrupted. Start it again: it begins anew, in the same folder.",
    ).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("evaluate", __doc__, EPILOG)
    add_keys(parser, _settings)
    parser.add_argument("--dataset", action="append", required=True, choices=DATASETS, help="by whose protocol")
    parser.add_argument("--data", action="append", required=True, metavar="FILE", help="its npz of people and truth")
    parser.add_argument(
        "--images", action="append", required=True, type=Path, metavar="DIR", help="where its images are"
    )
    parser.add_argument(
        "--checkpoint", action="append", required=True, metavar="FILE", help=".safetensors or .ckpt, or s3://"
    )
    parser.add_argument("--output", type=Path, default=Path("evaluation"), metavar="DIR", help="default: evaluation")
    add_overrides(parser, "body.source=/data/smpl_models")
    return parser


def _settings() -> tuple[type, ...]:
    from trainer.evaluation.evaluation_config import EvaluationConfig

    return (EvaluationConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.rounds.pool import ActorStartError
    from trainer.checkpoint import CheckpointError
    from trainer.evaluation.driver import EvaluationFailedError

    return BodyFileError, CheckpointError, EvaluationFailedError, ActorStartError, OSError


def _refusals() -> Errors:
    from trainer.evaluation.evaluation_set import EvaluationFileError
    from trainer.inference.photo_source import InputError

    return EvaluationFileError, InputError


def _evaluate(options: argparse.Namespace) -> int:
    from pipeline.runtime.ray_environment import prepare_ray

    prepare_ray(os.environ)

    from jobs.environment import code_revision, ray_address
    from pipeline.runtime.config import load_config
    from trainer.evaluation.driver import run_evaluation
    from trainer.evaluation.evaluation_config import EvaluationConfig, EvaluationRequest

    request = EvaluationRequest.of_options(
        options.dataset, options.data, options.images, options.checkpoint, options.output
    )
    found = run_evaluation(
        request,
        load_config(EvaluationConfig, options.overrides),
        ray_address=ray_address(),
        code_revision=code_revision(),
        tell=lambda text: print(text, flush=True),
    )
    for item in found.rejections[:SHOWN_REJECTIONS]:
        print(f"  rejected: {item.dataset} {item.person} {item.key}: {item.reason}: {item.detail}")
    if len(found.rejections) > SHOWN_REJECTIONS:
        print(f"  ... and {len(found.rejections) - SHOWN_REJECTIONS} more in {options.output}/rejections.parquet")
    if not any(result.people for result in found.results):
        raise CommandError(f"nobody could be evaluated; the reasons are in {options.output}/rejections.parquet")
    print(found.text)
    print(f"{options.output}/results.json, people.parquet, tables.md, tables.tex, worst/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
