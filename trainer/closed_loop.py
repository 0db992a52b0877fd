"""The closed loop: publish 0 -> train -> publish 1 -> train -> ... Each step resumes; what is done is not redone.

What is done is read from the label store and the training records, never from the state file: that one is for people.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal

from pipeline.image.crop import CROP_PX
from pipeline.labels import Generation, LabelStore, Storage
from pipeline.labels.files.lineage import FEWEST_HELDOUT, Quantiles
from pipeline.rounds.driver import open_store, run_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import ConfigError
from trainer.training.checkpoint_choice import predictor_of_round
from trainer.training.driver import run_training
from trainer.training.train_config import TrainConfig, each_fold

STATE_FILE: Final = "loop.json"
JUDGED: Final = {"mean": 1.0, "p50": 1.25, "p95": 2.11}
"""What is judged of an error's distribution, and its standard error in standard deviations / sqrt(people), as of a
normal one: sqrt(p (1 - p)) / density at the quantile."""
Status = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStep:
    """One step for people to read: `refine k` or `train k`, when, and its figures."""

    step: str
    status: Status
    started: str
    finished: str | None = None
    error: str | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """Where a loop stands. `stopped`: why it ended before generation `rounds`."""

    rounds: int
    steps: tuple[LoopStep, ...] = ()
    stopped: str | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "LoopState":
        values = json.loads(data)
        return cls(
            rounds=values["rounds"],
            steps=tuple(LoopStep(**step) for step in values["steps"]),
            stopped=values["stopped"],
        )


class LoopLog:
    """Keeps the state file up to date, step by step."""

    def __init__(self, storage: Storage, rounds: int, tell: Callable[[str], None]) -> None:
        self._storage, self._tell = storage, tell
        known = read_state(storage)
        done = () if known is None else tuple(step for step in known.steps if step.status == "done")
        self.state = LoopState(rounds=rounds, steps=done)

    def run(self, name: str, work: Callable[[], Mapping[str, float | int | str]]) -> None:
        """Do one step. Its figures, or its failure, are on record when this returns or raises."""
        self._tell(f"\n== {name}")
        earlier = tuple(step for step in self.state.steps if step.step != name)
        step = LoopStep(step=name, status="running", started=_now())
        self._write(replace(self.state, steps=(*earlier, step)))
        try:
            figures = work()
        except BaseException as error:
            failed = replace(step, status="failed", finished=_now(), error=f"{type(error).__name__}: {error}")
            self._write(replace(self.state, steps=(*earlier, failed)))
            raise
        self._write(
            replace(self.state, steps=(*earlier, replace(step, status="done", finished=_now(), figures=figures)))
        )

    def stop(self, reason: str) -> None:
        self._tell(f"\n== stop: {reason}")
        self._write(replace(self.state, stopped=reason))

    def _write(self, state: LoopState) -> None:
        self.state = state
        self._storage.write(STATE_FILE, state.to_json())


def read_state(storage: Storage) -> LoopState | None:
    """The state of the last loop below this root, None if there was none."""
    try:
        return LoopState.from_json(storage.read(STATE_FILE))
    except FileNotFoundError:
        return None


def run_loop(
    rounds: int,
    refine: RoundConfig,
    train: TrainConfig,
    *,
    min_improvement: float,
    ray_address: str | None,
    code_revision: str,
    tell: Callable[[str], None],
) -> LoopState:
    """Bring the store to generation `rounds`, or to the last one that still improved.

    min_improvement: a round k >= 1 that lowers none of mean, median and 95 % quantile of the held-out error by this
    share ends the loop (of the kp2d error where too few people have one); 0: none does. refine.predict.cross_fit=K
    trains K networks on each generation, one fold after the other.

    Raises what `run_round` and `run_training` raise, and ConfigError for a `train` of one fold alone.
    """
    if train.data.folds > 1:
        raise ConfigError("data.folds trains one fold, the loop trains all of them: set predict.cross_fit instead.")
    trainings = each_fold(train, refine.predict.cross_fit)
    store = open_store(refine.storage)
    log = LoopLog(store.storage, rounds, tell)
    published = [generation.round for generation in store.rounds()]

    def refined(k: int) -> Mapping[str, float | int | str]:
        predictor = predictor_of_round(refine.predict, store, k, refine.body, [train.network.head])
        tell(f"predictions: {'none' if predictor is None else predictor.uri}")
        result = run_round(k, refine, predictor=predictor, ray_address=ray_address, code_revision=code_revision)
        return _round_figures(result.generation)

    def trained(k: int, config: TrainConfig) -> Mapping[str, float | int | str]:
        record = run_training(k, config, ray_address=ray_address, code_revision=code_revision).record
        return {"training_id": record.training_id, "steps": record.steps} | dict(record.best)

    for k in range(max(published, default=-1) + 1, rounds + 1):
        if k > 0:
            if reason := _no_longer_improves(store, k - 1, min_improvement):
                log.stop(reason)
                break
            for config in trainings:
                log.run(_training_step(k - 1, config), lambda k=k, config=config: trained(k - 1, config))
        log.run(f"refine {k}", lambda k=k: refined(k))
    return log.state


def _training_step(round: int, config: TrainConfig) -> str:
    return f"train {round}" if config.data.folds == 1 else f"train {round} fold {config.data.fold}"


def _no_longer_improves(store: LabelStore, round: int, min_improvement: float) -> str | None:
    """Why no further round after `round` is worth its work, None to go on."""
    if round < 1:
        return None
    before, after = (store.generation(k).metrics for k in (round - 1, round))
    reason = quality_stop(before, after, min_improvement)
    return reason and f"round {round} {reason}"


def quality_stop(before: Mapping[str, Quantiles], after: Mapping[str, Quantiles], min_improvement: float) -> str | None:
    """`stop_reason` of two generations with these metrics: by their held-out errors where both have enough of them,
    else by their kp2d errors. None also where there is nothing to compare.
    """
    for measure, fewest in (("kp2d_heldout_error", FEWEST_HELDOUT), ("kp2d_error", 1)):
        if all(measure in metrics and metrics[measure].count >= fewest for metrics in (before, after)):
            return stop_reason(before[measure], after[measure], min_improvement, sampled=fewest > 1)
    return None


def stop_reason(before: Quantiles, after: Quantiles, min_improvement: float, *, sampled: bool = False) -> str | None:
    """Why a generation with errors `after` is no improvement on its parent's `before`, None if it is one.

    sampled: they are the held-out errors of a few people, and a fall within one standard error is none. Both are of
    the same people, so that of their difference is smaller as a rule. min_improvement 0: anything is an improvement.
    """
    if min_improvement <= 0:
        return None
    falls = {name: 1 - getattr(after, name) / getattr(before, name) for name in JUDGED if getattr(before, name) > 0}
    least = {name: max(min_improvement, sampled * _relative_error(before, name)) for name in falls}
    if any(fall >= least[name] for name, fall in falls.items()):
        return None
    shown = ", ".join(f"{name} {-fall:+.2%}" for name, fall in falls.items())
    asked = f"{min_improvement:.1%}" + (f" or one standard error of {before.count} people" if sampled else "")
    measure = "held-out error" if sampled else "kp2d error"
    return f"lowered the {measure} of its parent by less than {asked} ({shown})"


def _relative_error(errors: Quantiles, name: str) -> float:
    """Standard error of the mean or of a quantile, as a share of it."""
    deviation = (errors.p95 - errors.p05) / 3.29
    return JUDGED[name] * deviation / math.sqrt(errors.count) / getattr(errors, name)


def _round_figures(generation: Generation) -> Mapping[str, float | int | str]:
    error = generation.metrics.get("kp2d_error")
    found: dict[str, float | int | str] = {"run_id": generation.run_id, "people": generation.rows}
    found |= {name: generation.decisions[name] for name in ("improved", "first_label") if name in generation.decisions}
    if error is not None:
        found["kp2d_error_px_mean"] = round(error.mean * CROP_PX, 3)
        found["kp2d_error_px_p50"] = round(error.p50 * CROP_PX, 3)
    return found


def steps_table(state: LoopState) -> Sequence[Sequence[str]]:
    """Rows (step, status, started, figures) for people."""
    return [
        (
            step.step,
            step.status,
            step.started,
            step.error or ", ".join(f"{name} {_shown(value)}" for name, value in step.figures.items()),
        )
        for step in state.steps
    ]


def _shown(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
