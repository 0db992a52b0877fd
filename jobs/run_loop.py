"""The closed loop: convert, publish 0, train, refine, publish 1, train, ... until generation N is published."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from jobs.command_line import Command, CommandError, Errors, add_keys, add_overrides, command_parser

if TYPE_CHECKING:
    from pipeline.rounds.round_config import RoundConfig
    from trainer.training.train_config import TrainConfig

EPILOG = """examples:
  python jobs/run_loop.py --rounds 3 data.shards='DIR/{000000..000412}.tar' storage.root=/data/labels network.variant=b
  python jobs/run_loop.py --rounds 2 storage.root=s3://bucket/labels network.init=/data/hsmr_vit_h.ckpt
  python jobs/run_loop.py --rounds 5 preset=hsmr network.backbone=/data/vitpose_huge.pth data.shards=...
  python jobs/run_loop.py --status storage.root=/data/labels
  ray job submit -- python jobs/run_loop.py --rounds 3 ...

Overrides are those of refine_round.py and train_round.py together; one that both know goes to both. `--keys` lists
them. Killed at any moment, start it again: what is published or trained is kept, what was begun goes on. The state for
people is storage.root/loop.json. The loop ends early when a round lowers none of mean, median and 95 % quantile of the
error on held-out keypoints (of the kp2d error, where fewer than 30 people have that) by --min-improvement.

exit codes: 0 generation N is published, or the loop stopped because it no longer improves; 1 a step failed, and the
message says why; 2 an option or override is wrong; 130 interrupted.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(
        name="run_loop",
        parser=_parser,
        work=_work,
        failed=_failures,
        presets=True,
        interrupted="Interrupted. Start it again: what is finished is kept.",
    ).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("run_loop", __doc__, EPILOG)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--rounds", type=int, metavar="N", help="the generation to end with")
    what.add_argument("--status", action="store_true", help="show where the loop stands and stop")
    add_keys(what, _settings)
    parser.add_argument(
        "--min-improvement", type=float, default=0.01, metavar="SHARE",
        help="smallest fall of the held-out error that is worth another round (default 0.01; 0 = never stop early)",
    )  # fmt: skip
    add_overrides(parser, "storage.root=DIR")
    return parser


def _settings() -> tuple[type, ...]:
    from pipeline.rounds.round_config import RoundConfig
    from trainer.training.train_config import TrainConfig

    return RoundConfig, TrainConfig


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from pipeline.rounds.actor import StagingError
    from pipeline.rounds.pool import ActorStartError
    from trainer.checkpoint import CheckpointError
    from trainer.training.ray_stage import TrainingFailedError

    return (
        LabelStoreError, StagingError, ActorStartError, BodyFileError, CheckpointError, TrainingFailedError, OSError
    )  # fmt: skip


def _work(options: argparse.Namespace) -> int:
    from pipeline.runtime.ray_environment import prepare_ray

    prepare_ray(os.environ)
    refine, train = _configs(options.overrides)
    return _show_status(refine) if options.status else _loop(options, refine, train)


def _configs(overrides: list[str]) -> "tuple[RoundConfig, TrainConfig]":
    """Each override to the command that knows its key. Raises ConfigError for one that neither knows."""
    from pipeline.rounds.round_config import RoundConfig
    from pipeline.runtime.config import load_config, valid_keys
    from trainer.training.presets import with_preset
    from trainer.training.train_config import TrainConfig

    known = {cls: set(valid_keys(cls)) for cls in (RoundConfig, TrainConfig)}
    overrides = with_preset(overrides, set().union(*known.values()))

    def own(cls: type) -> list[str]:
        """Those it knows; what nobody knows goes to both, which say so."""
        keys = [(text, text.partition("=")[0]) for text in overrides]
        return [text for text, key in keys if key in known[cls] or not any(key in names for names in known.values())]

    return load_config(RoundConfig, own(RoundConfig)), load_config(TrainConfig, own(TrainConfig))


def _loop(options: argparse.Namespace, refine: "RoundConfig", train: "TrainConfig") -> int:
    from jobs.environment import code_revision, ray_address
    from pipeline.runtime.ray_cluster import ray_session, refuse_lost_paths, shipped_packages
    from trainer.closed_loop import run_loop

    refuse_lost_paths(refine.storage, refine.data)
    address = ray_address()
    with ray_session(address, refine.run.actors, shipped_packages(train)):
        state = run_loop(
            options.rounds,
            refine,
            train,
            min_improvement=options.min_improvement,
            ray_address=address,
            code_revision=code_revision(),
            tell=lambda text: print(text, flush=True),
        )
    _print(state)
    return 0


def _show_status(refine: "RoundConfig") -> int:
    from pipeline.rounds.driver import open_store
    from trainer.closed_loop import read_state

    state = read_state(open_store(refine.storage).storage)
    if state is None:
        raise CommandError(f"No loop has run under {refine.storage.root}. Start one with --rounds N.")
    _print(state)
    return 0


def _print(state) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from trainer.closed_loop import steps_table

    table = Table(title=f"\nLoop to generation {state.rounds}", title_justify="left", box=box.SIMPLE)
    for name in ("step", "status", "started", "figures"):
        table.add_column(name, overflow="fold")
    for row in steps_table(state):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    if state.stopped:
        print(f"Stopped early: {state.stopped}.")


if __name__ == "__main__":
    sys.exit(main())
