"""Actors of rounds by the kp2d error: in the place of `ShardActor` a driver starts them as it would start that.

No setting of ours selects these rules. The seam is the function that a shard is refined with, which they replace in
their own process; plan, staging, audit and publication stay what they are.
"""

from functools import partial
from typing import ClassVar
from unittest.mock import patch

from benchmarks.baselines.error_rounds import refine_by_error
from benchmarks.baselines.error_rule import OLD, PUBLISHED, ErrorRule
from pipeline.labels import StagedShard
from pipeline.rounds import shard_task
from pipeline.rounds.actor import ShardActor
from pipeline.rounds.shard_task import ShardTask


class _ErrorActor(ShardActor):
    rule: ClassVar[ErrorRule]

    def process(self, task: ShardTask) -> StagedShard:
        """As `ShardActor.process`, by the rule."""
        with patch.object(shard_task, "refine_people", partial(refine_by_error, self.rule)):
            return super().process(task)


class OldRuleActor(_ErrorActor):
    """By our rule until 2026-11-26."""

    rule = OLD


class PublishedRuleActor(_ErrorActor):
    """By the published one."""

    rule = PUBLISHED
