"""Make one label generation: round 0 converts SMPL labels, round k refines generation k-1."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from jobs.command_line import Command, Errors, add_keys, add_overrides, command_parser

if TYPE_CHECKING:
    from pipeline.labelling.predictor import PredictorSource
    from pipeline.rounds.round_config import RoundConfig

LOG_WIDTH = 110  # columns where the output is no terminal
EPILOG = """examples:
  python jobs/refine_round.py --round 0 data.shards='DIR/{000000..000002}.tar'
  python jobs/refine_round.py --round 1
  python jobs/refine_round.py --round 0 preset=hsmr data.shards='DIR/{000000..000002}.tar'
  python jobs/refine_round.py --round 1 storage.root=s3://bucket/labels body.source=/data/smpl_models fit.device=cuda
  ray job submit -- python jobs/refine_round.py --round 1

Killed at any moment, start it again: finished shards are reused. With RAY_ADDRESS set (as `ray job submit` does) it
runs on that cluster, else on a Ray of its own. `python jobs/refine_round.py --keys` lists every override.

exit codes: 0 the round is published; 1 it is not, and the message says why; 2 an option or override is wrong;
130 interrupted.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(
        name="refine_round",
        parser=_parser,
        work=_work,
        failed=_failures,
        presets=True,
        interrupted="Interrupted; nothing was published. Start it again: finished shards are reused.",
    ).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("refine_round", __doc__, EPILOG)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--round", type=_round, metavar="K", help="the generation to make; K-1 must be published")
    add_keys(what, _settings)
    parser.add_argument(
        "--force-publish",
        type=_reason,
        metavar="REASON",
        help="publish although the audit doubts the quality; the reason and the failed checks become part of the "
        "lineage. Broken files, identities or missing people are never published",
    )
    add_overrides(parser, "run.actors=2")
    return parser


def _round(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a round: 0, 1, 2, ... expected")
    return int(text)


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a reason in words is expected: it becomes part of the lineage")
    return text.strip()


def _settings() -> tuple[type, ...]:
    from pipeline.rounds.round_config import RoundConfig

    return (RoundConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from pipeline.rounds.actor import StagingError
    from pipeline.rounds.pool import ActorStartError
    from trainer.checkpoint import CheckpointError

    return LabelStoreError, StagingError, ActorStartError, BodyFileError, CheckpointError, OSError


def _work(options: argparse.Namespace) -> int:
    from pipeline.runtime.ray_environment import prepare_ray

    prepare_ray(os.environ)

    from jobs.presets import known_keys
    from pipeline.rounds.round_config import RoundConfig
    from pipeline.runtime.config import load_config
    from trainer.training.presets import with_preset

    overrides = with_preset(options.overrides, known_keys([RoundConfig]))
    return _refine(options.round, load_config(RoundConfig, overrides), options.force_publish)


def _refine(round: int, config: "RoundConfig", force_publish: str | None) -> int:
    from rich.console import Console

    from jobs.environment import code_revision, ray_address
    from pipeline.rounds.driver import open_store, run_round
    from pipeline.rounds.summary import summary_table
    from pipeline.runtime.ray_cluster import refuse_lost_paths

    refuse_lost_paths(config.storage, config.data)
    address = ray_address()
    result = run_round(
        round,
        config,
        predictor=chosen_predictor(round, config),
        ray_address=address,
        code_revision=code_revision(),
        force_publish=force_publish,
    )
    store = open_store(config.storage)
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(summary_table(store, result))
    if result.already_published:
        print(f"Round {round} was already published by this very run ({result.run_id}); nothing was changed.")
    else:
        work = f"{result.computed} shards computed, {result.reused} reused"
        print(f"Round {round} is published under {store.storage.root} ({work}).")
    if result.generation.forced is not None:
        print(f"Published against the audit ({', '.join(result.generation.forced.checks)}): force is in the lineage.")
    print(f"Look at it: python jobs/inspect_labels.py show {round} storage.root={config.storage.root}")
    return 0


def chosen_predictor(round: int, config: "RoundConfig") -> "PredictorSource | None":
    """The network whose predictions start the fits, said on stdout. Raises ConfigError, LabelStoreError or OSError."""
    from pipeline.rounds.driver import open_store
    from pipeline.runtime.config import ConfigError
    from trainer.training.checkpoint_choice import predictor_of_round

    choice = config.predict.checkpoint
    if round == 0:
        if choice not in {"auto", "none"}:
            raise ConfigError("Round 0 converts SMPL labels and predicts nothing: leave predict.checkpoint out.")
        return None
    source = predictor_of_round(config.predict, open_store(config.storage), round, config.body)
    if source is None and choice == "auto":
        print(f"predictions: none, no network was trained on generation {round - 1}; fits start from its labels")
    elif source is not None:
        print(f"predictions: {source.uri}")
    return source


if __name__ == "__main__":
    sys.exit(main())
