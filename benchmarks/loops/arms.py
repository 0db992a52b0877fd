"""The loops that `truth-loop` compares, each with what it does otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from unittest.mock import patch

from benchmarks.baselines.error_actors import OldRuleActor, PublishedRuleActor
from pipeline.rounds import driver
from pipeline.rounds.actor import ShardActor


class Arm(NamedTuple):
    """Overrides of rounds and of trainings, how many networks are cross-fitted, and what processes a round's shards."""

    rounds: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    cross_fit: int = 1
    actor: type[ShardActor] = ShardActor

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Rounds that are driven in this block are this arm's."""
        with patch.object(driver, "ShardActor", self.actor):
            yield


ARMS: Final = {
    "loop": Arm(),
    "no-network": Arm(rounds=("predict.checkpoint=none",)),
    "head": Arm(training=("network.uncertainty=head",)),
    "cross-fit": Arm(rounds=("predict.cross_fit=2",), cross_fit=2),
    "hsmr": Arm(rounds=("fit.skelify.objective=hsmr",), actor=PublishedRuleActor),
    # an anchor that lets go of nobody, as it was
    "old-rule": Arm(rounds=("fit.skelify.opinion_kernel=1e6",), actor=OldRuleActor),
}
