"""Train a network, HSMR or HMR2.0, on one label generation, with Ray Train."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from jobs.command_line import Command, Errors, add_keys, add_overrides, command_parser

if TYPE_CHECKING:
    from trainer.training.record import TrainingRecord
    from trainer.training.train_config import TrainConfig

EPILOG = """examples:
  python jobs/train_round.py --round 0 network.variant=tiny schedule.epochs=20 optimizer.learning_rate=3e-4
  python jobs/train_round.py --round 3 storage.root=s3://bucket/labels network.variant=h run.workers=8
  python jobs/train_round.py --round 3 storage.root=s3://bucket/labels network.variant=h run.workers=2..8   # elastic
  python jobs/train_round.py --round 0 network.init=/data/hsmr_vit_h.ckpt
  python jobs/train_round.py --round 0 network.backbone=/data/vitpose_huge.pth
  python jobs/train_round.py --round 0 preset=hsmr network.backbone=/data/vitpose_huge.pth   # the published recipe
  python jobs/train_round.py --round 0 preset=hmr2 prior.mocap=[cmu.npz]   # HMR2.0: SMPL labels of the shards
  python jobs/train_round.py --keys preset=hsmr                   # what it says, and by whose word
  python jobs/train_round.py --round 0 --cross-fit 2              # a network without each half of the people
  python jobs/train_round.py --round 0 data.folds=2 data.fold=1   # one of these
  ray job submit -- python jobs/train_round.py --round 3

Killed at any moment, start it again: it goes on from the last saved state. With RAY_ADDRESS set (as `ray job submit`
does) it runs on that cluster, else on a Ray of its own. `python jobs/train_round.py --keys` lists every override.
The next round predicts with the best checkpoint by itself (predict.checkpoint=auto), with predict.cross_fit=K with the
best one of each fold.

exit codes: 0 trained; 1 it is not, and the message says why; 2 an option or override is wrong; 130 interrupted.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(
        name="train_round",
        parser=_parser,
        work=_work,
        failed=_failures,
        presets=True,
        interrupted="Interrupted. Start it again: it goes on from the last saved state.",
    ).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("train_round", __doc__, EPILOG)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--round", type=int, metavar="K", help="the published generation to train on")
    add_keys(what, _settings)
    parser.add_argument(
        "--cross-fit", type=_folds, default=1, metavar="K",
        help="train K networks, one after the other, each without a K-th of the people (default 1: one, on everybody)",
    )  # fmt: skip
    add_overrides(parser, "network.variant=tiny")
    return parser


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of folds: 1 or more expected")
    return int(text)


def _settings() -> tuple[type, ...]:
    from trainer.training.train_config import TrainConfig

    return (TrainConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from trainer.checkpoint import CheckpointError
    from trainer.training.ray_stage import TrainingFailedError

    return LabelStoreError, BodyFileError, CheckpointError, TrainingFailedError, OSError


def _work(options: argparse.Namespace) -> int:
    from pipeline.runtime.ray_environment import prepare_ray

    prepare_ray(os.environ)

    from jobs.presets import known_keys
    from pipeline.runtime.config import load_config
    from trainer.training.presets import with_preset
    from trainer.training.train_config import TrainConfig, each_fold

    overrides = with_preset(options.overrides, known_keys([TrainConfig]))
    for config in each_fold(load_config(TrainConfig, overrides), options.cross_fit):
        _train(options.round, config)
    folds = f" predict.cross_fit={config.data.folds}" if config.data.folds > 1 else ""
    print(f"Next: python jobs/refine_round.py --round {options.round + 1} storage.root={config.storage.root}{folds}")
    return 0


def _train(round: int, config: "TrainConfig") -> None:
    from rich.console import Console

    from jobs.environment import code_revision, ray_address
    from trainer.training.driver import run_training
    from trainer.training.summary import summary_table

    result = run_training(round, config, ray_address=ray_address(), code_revision=code_revision())
    record = result.record
    Console(width=None if sys.stdout.isatty() else 110).print(summary_table(record))
    if result.already_trained:
        print(f"This very training ({record.training_id}) was already finished; nothing was changed.")
    print(f"Best checkpoint: {_address(config, record)}")


def _address(config: "TrainConfig", record: "TrainingRecord") -> str:
    return f"{config.storage.root.rstrip('/')}/{record.best_checkpoint}"


if __name__ == "__main__":
    sys.exit(main())
