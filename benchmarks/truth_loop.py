"""`truth-loop`: real closed loops on made people, by arm and seed: how far labels and networks are from the truth
(docs/loop_gain.md#with-networks-that-are-trained).
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import torch

from benchmarks.loops.arms import ARMS, Arm
from benchmarks.loops.made_truth import MadeTruth
from benchmarks.loops.plots import plot_rows
from benchmarks.loops.truth_rows import Row, label_rows, network_rows
from benchmarks.report import Options, say, table
from pipeline.labels import LabelStore
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from pipeline.runtime.ray_cluster import ray_session
from pipeline.shards import list_shards
from trainer.closed_loop import run_loop
from trainer.training.mini_recipe import mini_recipe, of_steps
from trainer.training.train_config import TrainConfig

PEOPLE: Final = 4000
ROUNDS: Final = 4
HELD_OUT_SHARE: Final = 0.15
_QUICK: Final = ("no-network", "hsmr")


class _Sizes(NamedTuple):
    people: int
    rounds: int
    steps: int
    seeds: tuple[int, ...]
    arms: tuple[str, ...]


def run(options: Options) -> None:
    """Print, write to --json and plot into --plot how far labels and networks are from the truth.

    Raises ValueError for an arm that is not known, and whatever a loop raises: started again, it goes on from there.
    """
    sizes, work, rows = _sizes(options), options.work or _cache(), []
    for name in sizes.arms:
        if name not in ARMS:
            raise ValueError(f"--arms {name}: there are {', '.join(ARMS)}.")
    say(f"{sizes.people} people, {sizes.rounds} rounds, {sizes.steps} steps a training; kept in {work}")
    with ray_session(None, 0, ()):
        for seed in sizes.seeds:
            clock = _Clock(f"seed {seed}")
            made = MadeTruth(work / f"people-{sizes.people}-seed-{seed}" / "made", sizes.people, seed)
            clock.tell(f"{sizes.people} people are there")
            for name in sizes.arms:
                rows += [{"arm": name, "seed": seed} | row for row in _arm_rows(name, seed, made, sizes, options, work)]
                if options.json is not None:  # after each, for a run of hours
                    options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    _print(rows)
    if options.plot is not None:
        say(f"plots: {', '.join(map(str, plot_rows(rows, options.plot)))}")


def _sizes(options: Options) -> _Sizes:
    if options.quick:
        return _Sizes(24, 1, 2, options.seeds[:1], options.arms or _QUICK)
    people, rounds = options.people or PEOPLE, options.rounds or ROUNDS
    return _Sizes(people, rounds, options.steps, options.seeds, options.arms or tuple(ARMS))


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "truth-loop"


class _Clock:
    """Tells what happens, and when, counted from its making."""

    def __init__(self, what: str) -> None:
        self._what, self._start = what, time.monotonic()

    def tell(self, text: str) -> None:
        say(f"[{self._what}, {time.monotonic() - self._start:6.0f} s] {text.strip().removeprefix('== ')}")


def _arm_rows(name: str, seed: int, made: MadeTruth, sizes: _Sizes, options: Options, work: Path) -> list[Row]:
    """Run the loop of an arm, or find it run, and judge it."""
    arm, clock = ARMS[name], _Clock(f"seed {seed}, {name}")
    rounds, training = _round_settings(arm, made, options), _training_settings(arm, seed, sizes.steps, options)
    root = work / f"people-{sizes.people}-seed-{seed}" / f"{name}-{_digest(rounds, training, made)}"
    refine = load_config(RoundConfig, [*rounds, f"storage.root={root}"])
    train = load_config(TrainConfig, [*training, f"storage.root={root}"])
    clock.tell(f"labels in {root}")
    with arm.acting():
        run_loop(
            sizes.rounds,
            refine,
            train,
            min_improvement=0,
            ray_address=None,
            code_revision="benchmark",
            tell=clock.tell,
        )
    store, device = LabelStore(str(root)), "cuda" if torch.cuda.is_available() else "cpu"
    trained = range(sizes.rounds)
    rows = label_rows(made, store, range(sizes.rounds + 1))
    rows += network_rows(made, store, trained, arm.cross_fit, train.data.held_out_share, device)
    clock.tell("judged")
    return rows


def _round_settings(arm: Arm, made: MadeTruth, options: Options) -> list[str]:
    """The audit lets through what is worse than its parent generation: how much worse is what is asked."""
    audit = ("audit.quantile_tolerance=100", "audit.heldout_tolerance=100")
    actors = int(options.quick)  # a few people are done before a second one has started
    return [
        f"data.shards={made.data.shard_pattern}",
        *audit,
        f"run.actors={actors}",
        "run.progress=false",
        *arm.rounds,
    ]


def _training_settings(arm: Arm, seed: int, steps: int, options: Options) -> list[str]:
    """What the command line says overrides ours, and an arm's own settings override all."""
    return [
        *(mini_recipe(steps) if options.variant == "mini" else _plain_recipe(options.variant, steps)),
        f"data.seed={seed}",
        f"data.held_out_share={HELD_OUT_SHARE}",
        "schedule.patience=0",
        "run.progress=false",
        *options.train,
        *arm.training,
    ]


def _plain_recipe(variant: str, steps: int) -> tuple[str, ...]:
    return (
        f"network.variant={variant}",
        "optimizer.learning_rate=3e-4",
        f"optimizer.warm_up_steps={steps // 20}",
        *of_steps(steps),
    )


def _digest(rounds: Sequence[str], training: Sequence[str], made: MadeTruth) -> str:
    """Of all that decides a loop but the code, so that none goes on with what others began."""
    shards = [(shard.shard, shard.etag) for shard in list_shards(made.data.shard_pattern)]
    return hashlib.sha256(json.dumps([*rounds, *training, shards]).encode()).hexdigest()[:8]


def _print(rows: Sequence[Row]) -> None:
    """For labels and networks, means over the seeds."""
    names = ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_px", "kp2d_heldout_px")
    for whose in ("labels", "network"):
        say({"labels": "Labels:", "network": "Networks on people held out, by the round of their labels:"}[whose])
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            if row["whose"] == whose:
                groups.setdefault(tuple(str(row[key]) for key in ("arm", "poses", "round")), []).append(row)
        shown = [
            [*key, str(len(group)), *(_mean([row[name] for row in group]) for name in names)]
            for key, group in groups.items()
        ]
        columns = ("arm", "poses", "round", "seeds", "MPJPE mm", "PA", "MPVPE", "kp2d px", "held out px")
        table(columns, shown)
    say("Means over the seeds. Extreme: the quarter whose true pose is furthest from the mean pose, in angles.")


def _mean(values: Sequence[object]) -> str:
    known = [float(str(value)) for value in values if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else ""
